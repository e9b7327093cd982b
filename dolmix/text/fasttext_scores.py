"""From the vector of a text to probabilities of labels, as fastText's losses compute them.

Scores are logarithms of p + 1e-5 in single precision (`std_log`), and probabilities their
exponentials, so they can exceed 1 by 1e-5. A tree leaves out branches below log 1e-5, and labels
there have no probability. Equal scores are ordered as C++'s heap functions leave them.
"""

import math
from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_tables import (
    HIERARCHICAL,
    SHAPE_LABELS,
    SHAPE_LOSS,
    SOFTMAX,
    F32Array,
    Tables,
)

SIGMOID_SIZE, SIGMOID_MOST = 512, 8
"""fastText looks the logistic function up in a table: 512 steps from -8 to 8."""
ABSENT = np.float32(-np.inf)


class Scores(NamedTuple):
    """What is asked of each text, and the answers.

    labels  (N, K) int32    out; the K best labels, best first, -1 where there are fewer
    probs   (N, K) float32  out; their probabilities, 0 where there is none
    wanted  (M,) int64      labels of which the probability is asked for in any case
    chances (N, M) float32  out; theirs, 0 where a tree leaves them out
    """

    labels: I32Array
    probs: F32Array
    wanted: I64Array
    chances: F32Array


class Room(NamedTuple):
    """Room for the scores of one text.

    outputs  (2L,) float32   scores by label, or by node of the tree
    heap     (K + 1,) float32, order (K + 1,) int32  the best so far, the worst of them first
    stack    (2L,) int32     nodes to visit
    """

    outputs: F32Array
    heap: F32Array
    order: I32Array
    stack: I32Array


def room_for(tables: Tables, most: int) -> Room:
    """Make room for the `most` best labels of a text."""
    nodes = 2 * int(tables.shape[SHAPE_LABELS])
    return Room(
        np.zeros(nodes, np.float32),
        np.zeros(most + 1, np.float32),
        np.zeros(most + 1, np.int32),
        np.zeros(nodes, np.int32),
    )


@leaf
def std_log(value: float) -> np.float32:
    """Give fastText's logarithm, which has no zero."""
    return np.float32(math.log(value + 1e-5))


@leaf
def _sigmoid(value: np.float32) -> np.float32:
    """Look the logistic function up as fastText's table has it, step by step of 1/32."""
    if value < -SIGMOID_MOST:
        return np.float32(0.0)
    if value > SIGMOID_MOST:
        return np.float32(1.0)
    scaled = np.float32(np.float32(value + np.float32(8)) * np.float32(512))
    place = np.int64(np.float32(np.float32(scaled / np.float32(8)) / np.float32(2)))
    x = np.float32(np.float32(place * 16) / np.float32(512) - np.float32(8))
    return np.float32(1.0 / (1.0 + np.float32(math.exp(np.float32(-x)))))


@leaf
def _products(hidden: F32Array, tables: Tables, out: F32Array) -> None:
    """Multiply the text's vector with every output vector, each sum in fastText's order."""
    labels = tables.outputs.shape[1]
    for label in range(labels):
        out[label] = np.float32(0.0)
    for d in range(hidden.size):
        value = hidden[d]
        for label in range(labels):
            out[label] += tables.outputs[d, label] * value
    for label in range(labels):
        out[label] *= tables.scales[label]


@leaf
def _product(hidden: F32Array, tables: Tables, column: int) -> np.float32:
    total = np.float32(0.0)
    for d in range(hidden.size):
        total += tables.outputs[d, column] * hidden[d]
    return np.float32(total * tables.scales[column])


@leaf
def _flat_scores(hidden: F32Array, tables: Tables, out: F32Array) -> None:
    """Fill in the score of every label of a model without a tree."""
    _products(hidden, tables, out)
    labels = tables.outputs.shape[1]
    if tables.shape[SHAPE_LOSS] != SOFTMAX:
        for label in range(labels):
            out[label] = std_log(np.float64(_sigmoid(out[label])))
        return
    largest, total = out[0], np.float32(0.0)
    for label in range(labels):
        largest = max(out[label], largest)
    for label in range(labels):
        out[label] = np.float32(math.exp(np.float64(np.float32(out[label] - largest))))
        total += out[label]
    for label in range(labels):
        out[label] = std_log(np.float64(np.float32(out[label] / total)))


@leaf
def _branches(
    hidden: F32Array, tables: Tables, node: int, score: np.float32
) -> tuple[np.float32, np.float32]:
    """Scores of the two children of a node of the tree."""
    value = _product(hidden, tables, node - tables.shape[SHAPE_LABELS])
    hit = np.float32(1.0 / np.float64(np.float32(1.0) + np.float32(math.exp(np.float32(-value)))))
    missed = std_log(np.float64(np.float32(1.0 - np.float64(hit))))
    return np.float32(score + missed), np.float32(score + std_log(np.float64(hit)))


@leaf
def _sift_up(room: Room, hole: int, score: np.float32, label: int) -> None:
    """`std::__push_heap` of pairs of which the smallest score stands first."""
    while hole > 0:
        parent = (hole - 1) // 2
        if not room.heap[parent] > score:
            break
        room.heap[hole], room.order[hole] = room.heap[parent], room.order[parent]
        hole = parent
    room.heap[hole], room.order[hole] = score, label


@leaf
def _pop(room: Room, size: int) -> None:
    """`std::pop_heap`: the smallest score goes to the end of `size` pairs."""
    last = size - 1
    score, label = room.heap[last], room.order[last]
    room.heap[last], room.order[last] = room.heap[0], room.order[0]
    hole = child = 0
    while child < (last - 1) // 2:
        child = 2 * (child + 1)
        if room.heap[child] > room.heap[child - 1]:
            child -= 1
        room.heap[hole], room.order[hole] = room.heap[child], room.order[child]
        hole = child
    if last % 2 == 0 and child == (last - 2) // 2:
        child = 2 * (child + 1)
        room.heap[hole], room.order[hole] = room.heap[child - 1], room.order[child - 1]
        hole = child - 1
    _sift_up(room, hole, score, label)


@leaf
def _offer(room: Room, size: int, score: np.float32, label: int) -> int:
    """Put a label among the best, if it is one of them; returns how many there are."""
    most = room.heap.size - 1
    if size == most and score < room.heap[0]:
        return size
    _sift_up(room, size, score, label)
    if size < most:
        return size + 1
    _pop(room, size + 1)
    return size


@leaf
def _best_of_tree(hidden: F32Array, tables: Tables, room: Room) -> int:
    """Offer the labels of the tree, left before right, without branches that cannot matter."""
    labels, most = tables.shape[SHAPE_LABELS], room.heap.size - 1
    room.stack[0], room.outputs[0] = 2 * labels - 2, np.float32(0.0)
    depth, size = 1, 0
    while depth > 0:
        depth -= 1
        node, score = int(room.stack[depth]), room.outputs[depth]
        if score < std_log(0.0) or (size == most and score < room.heap[0]):
            continue
        if node < labels:
            size = _offer(room, size, score, node)
            continue
        missed, hit = _branches(hidden, tables, node, score)
        room.stack[depth], room.outputs[depth] = tables.tree.right[node], hit
        room.stack[depth + 1], room.outputs[depth + 1] = tables.tree.left[node], missed
        depth += 2
    return size


@leaf
def _fill_best(room: Room, size: int, scores: Scores, n: int) -> None:
    """`std::sort_heap`, and the exponentials."""
    for left in range(size, 1, -1):
        _pop(room, left)
    for k in range(scores.labels.shape[1]):
        scores.labels[n, k] = room.order[k] if k < size else -1
        prob = np.float32(math.exp(room.heap[k])) if k < size else np.float32(0.0)
        scores.probs[n, k] = prob


@leaf
def _chance_in_tree(hidden: F32Array, tables: Tables, label: int, room: Room) -> np.float32:
    """Probability of one label, by the path to it."""
    depth, node = 0, label
    while node >= 0:
        room.stack[depth] = node
        node = int(tables.tree.parents[node])
        depth += 1
    score = np.float32(0.0)
    for step in range(depth - 1, 0, -1):
        at, child = int(room.stack[step]), room.stack[step - 1]
        missed, hit = _branches(hidden, tables, at, score)
        score = missed if tables.tree.left[at] == child else hit
        if score < std_log(0.0):
            return np.float32(0.0)
    return np.float32(math.exp(score))


@leaf
def fill_scores(hidden: F32Array, tables: Tables, room: Room, scores: Scores, n: int) -> None:
    """Fill in row n of what is asked, for a text of that vector.

    hidden  (D,) float32  the mean of the text's vectors

    O(D L) without a tree, O(D depth) with one. Twin: tests/naive_fasttext.py `predict`.
    """
    tree = tables.shape[SHAPE_LOSS] == HIERARCHICAL
    size = 0
    if tree:
        size = _best_of_tree(hidden, tables, room)
    else:
        _flat_scores(hidden, tables, room.outputs)
        for label in range(tables.shape[SHAPE_LABELS]):
            size = _offer(room, size, room.outputs[label], label)
    _fill_best(room, size, scores, n)
    for m in range(scores.wanted.size):
        label = scores.wanted[m]
        if tree:
            scores.chances[n, m] = _chance_in_tree(hidden, tables, label, room)
        else:
            scores.chances[n, m] = np.float32(math.exp(room.outputs[label]))
