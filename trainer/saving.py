"""Writing checkpoints while the training goes on.

A step waits only until its tensors are copied to the host, and for the checkpoint before, if that
is still being written. torch's distributed checkpoint writes the copies from a thread; a second
thread of every rank waits for that. The first rank then adds `meta.json` and renames the folder,
which makes the checkpoint visible, and removes those that are not to be kept. What goes wrong on
one rank is an error on all, at the next step or the next checkpoint. The threads talk over a group
of their own, so nothing that the training sends gets between.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict_saver import async_save

from dolmix.files.commit import attempt_path, sync, write_json
from trainer.checkpoint import META, Meta, prune
from trainer.config import CheckpointConfig
from trainer.parallel import World
from trainer.tensor_files import CheckpointError, first_failure, sizes

log = logging.getLogger(__name__)
LOOK_S = 5.0
"""Seconds between two looks at a checkpoint that is waited for."""


class Saver:
    """Writes the checkpoints of one run, one at a time; every rank has one and calls it alike."""

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        world: World,
        *,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """on_progress: called while one is waited for whose files still grow."""
        self.folder, self.config, self.world = folder, config, world
        self._on_progress = on_progress
        self._group = dist.new_group(backend="gloo")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._attempt = folder

    def begin(self, tensors: Mapping[str, Tensor], meta: Meta) -> None:
        """Copy the tensors and begin to write `folder/step-NNNNNN`, once the one before is whole.

        Raises CheckpointError, on every rank, if the one before could not be written.
        """
        self.wait()
        final = self.folder / f"step-{meta.step:06d}"
        attempt = self._attempt = self._make_folder(final)
        written = async_save(
            dict(tensors),
            storage_writer=FileSystemWriter(attempt, sync_files=True),
            process_group=self._group,
            async_stager=BlockingAsyncStager(),
        )
        assert isinstance(written, Future)
        self._writing = self._thread.submit(self._finish, written, attempt, final, meta)

    @property
    def failed(self) -> bool:
        """Whether this rank knows of a checkpoint that could not be written."""
        writing = self._writing
        return writing is not None and writing.done() and writing.exception() is not None

    def wait(self) -> None:
        """Wait until what was begun is visible. Raises CheckpointError, on every rank."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        before = -1
        while not wait([writing], timeout=LOOK_S).done:
            now = _bytes_in(self._attempt)
            if now != before:
                self._on_progress()
            before = now
        writing.result()

    def close(self) -> None:
        """Let what was begun come to its end, whatever that is."""
        self._thread.shutdown(wait=True)

    def _make_folder(self, final: Path) -> Path:
        attempt, problem = attempt_path(final), ""
        try:
            if self.world.is_first:
                attempt.mkdir(parents=True)
        except OSError as error:
            problem = str(error)
        if problem := self.world.broadcast_text(problem):
            raise _unwritable(final, problem)
        return Path(self.world.broadcast_text(str(attempt)))

    def _finish(self, written: Future[object], attempt: Path, final: Path, meta: Meta) -> None:
        """Wait for the tensors of all ranks, then make them a checkpoint; tell all ranks."""
        problem = ""
        try:
            written.result()
            if self.world.is_first:
                _publish(attempt, final, meta)
        except CheckpointException as error:
            problem = first_failure(error)
        except OSError as error:
            problem = f"rank 0: {error}"
        problem = self.world.broadcast_text(problem, self._group)
        if problem:
            if self.world.is_first:
                shutil.rmtree(attempt, ignore_errors=True)
            raise _unwritable(final, problem)
        if self.world.is_first:
            log.info("checkpoint %s", final)
            try:
                prune(self.folder, self.config)
            except OSError as error:  # they only take room
                log.warning("checkpoints that are too old could not be removed: %s", error)


def _publish(attempt: Path, final: Path, meta: Meta) -> None:
    """Make a folder whose tensors are on disk a checkpoint; the rename is the commit.

    Each rank has flushed its own tensors, and `write_json` flushes the folder.
    """
    meta = meta.model_copy(update={"files": sizes(attempt)})
    write_json(attempt / META, meta.model_dump(mode="json"), indent=1)
    if final.exists():
        raise FileExistsError(f"{final} is there already")
    attempt.rename(final)
    sync(final.parent)


def _bytes_in(folder: Path) -> int:
    """Bytes written so far; 0 once the folder has its own name."""
    try:
        return sum(sizes(folder).values())
    except OSError:
        return 0


def _unwritable(final: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {final} cannot be written ({why}). The checkpoints before it are whole: make "
        "room or choose another output, and start again."
    )
