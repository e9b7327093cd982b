"""One small run of two sources with all that statistics tell: edits, duplicates, held-out ones."""

from pathlib import Path
from typing import Any

import builders
import dedup_runs
import pytest

from dolmix.pipeline.plan import Plan

LINE = "Subscribe to our letter today"
FILTERS = [
    {"type": "lines", "max_removed_frac": 0.5},
    {"type": "gopher"},
    {"type": "field", "name": "lang", "field": "metadata.lang", "drop": ["xx"]},
]
DEDUP = [{"type": "exact"}, {"type": "minhash", "name": "near"}, {"type": "paragraphs"}]


def records() -> list[dict[str, Any]]:
    """Documents of the source `web`: kept, edited, dropped by a filter, duplicates of all kinds."""
    texts = [builders.prose(n, 90 + n) for n in range(20)]
    texts += [texts[0], texts[1], texts[1], dedup_runs.varied(2), dedup_runs.varied(2, change=7)]
    texts += [f"{builders.prose(30)}\n{LINE}\nmore\n{LINE}\n{LINE}\nThe end.", "Too few words."]
    texts += [
        f"{builders.prose(31)}\n\n{builders.prose(5, 95)}",
        f"émeu à été {builders.prose(32)}",
    ]
    hosts = ["https://a.example.org/", "http://example.org/", "https://news.bbc.co.uk/", ""]
    return [
        {
            **builders.document(n, text),
            "metadata": {
                "url": f"{hosts[n % 4]}{n}" if hosts[n % 4] else None,
                "lang": ["en", "de", None, "xx"][n % 4 if n < 8 else 0],
            },
        }
        for n, text in enumerate(texts)
    ]


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Plan:
    """Run once for all tests that only look, in this process."""
    folder = tmp_path_factory.mktemp("stats")
    web = dedup_runs.source(folder, "web", records())
    web |= {
        "filters": FILTERS,
        "fields": {"url": "metadata.url"},
        "holdout": {"documents": 2},
    }
    notes = dedup_runs.source(
        folder, "notes", (builders.document(n, builders.prose(n, 60)) for n in range(50, 56))
    )
    made = dedup_runs.pipeline(
        folder, tiny_tokenizer, "run", sources={"web": web, "notes": notes}, dedup=DEDUP,
        keep_dropped=True, keep_columns=["gopher.word_count", "lang.value"],
    )  # fmt: skip
    return dedup_runs.run(made, last="valid")
