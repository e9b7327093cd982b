"""Edges that the ratios of `shape_ratios` are told by: rounded quantiles of texts to train on.

A model that reads shape words is of these edges: others need another name of a preparation.
"""

NONE = -999_999
"""Below it is a ratio to nothing."""
EDGES = (
    (NONE, 0, 23, 34, 43, 51, 61, 75, 88, 100, 140, 200),  # ends of sentences
    (NONE, 0, 5, 30, 36, 43, 52, 66, 78, 91, 110, 150),  # commas
    (NONE, 0, 160, 600, 900, 1_000),  # capitals after an end
    (NONE, 0, 5, 17, 25, 37, 50, 61, 83, 110, 140, 180, 350),  # capitals elsewhere
    (NONE, 0, 66, 86, 100, 110, 120, 140, 150, 170, 200, 230, 330),  # words with a sign at the end
    # two of them, against chance
    (NONE, 0, 63, 390, 510, 670, 760, 910, 1_000, 1_100, 1_400, 1_500, 2_100),
    (NONE, 0, 45, 120, 160, 220, 330, 400),  # sentences of one or two words
    # spread of sentence lengths
    (NONE, 1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 1_600, 1_900, 2_400),
    (NONE, 0, 47, 160, 200, 250, 330, 420, 660, 750, 1_000),  # short words that end a sentence
    (NONE, 0, 5, 15, 22, 27, 57, 64),  # words said twice running
    (NONE, 0, 16, 28, 40, 51, 66, 86, 120, 410, 550),  # words said within six words
    (NONE, 0, 5, 14, 31, 44, 300, 360, 470),  # pairs said within eight
    (NONE, 34, 44, 51, 57, 65, 75, 87, 100, 120, 140, 160, 200, 280),  # the commonest word
    (NONE, 260, 400, 570, 620, 720, 770, 840, 900, 1_000),  # different words
    (NONE, 45, 180, 370, 460, 510, 550, 590, 650, 750, 830, 1_000),  # words said once
    (NONE, 0, 5, 16, 28, 32, 45, 56, 64, 110, 170, 380, 530),  # pairs said again
    # pairs said again, against chance
    (NONE, 400, 600, 820, 940, 1_000, 1_100, 1_800, 2_700, 3_800, 5_500, 10_000, 19_000),
    # lengths of neighbours, correlated
    (
        NONE,
        -2_900,
        -1_300,
        -640,
        -370,
        -270,
        -210,
        -170,
        -130,
        -88,
        -54,
        -18,
        1,
        18,
        31,
        40,
        71,
        100,
        120,
    ),
    (NONE, 0, 97, 200, 310, 350, 390, 460, 540, 650),  # short words
    (NONE, 0, 400, 570, 660, 730, 790, 880, 930, 990, 1_200),  # two of them, against chance
    (NONE, 3_100, 3_600, 3_900, 5_100, 5_600, 6_200, 7_100),  # mean length
    (NONE, 1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 1_700),  # spread of lengths
    (NONE, 0, 5, 15, 25, 33, 70, 77),  # letters and digits
    (NONE, 0, 5, 16, 22, 37, 72, 110, 220),  # odd signs
    (NONE, 0, 5, 13, 25, 57),  # upper after lower case
    (NONE, 0, 6, 12, 30, 51, 370),  # two scripts in a word
    (NONE, 0, 5, 15),  # one letter three times
    (NONE, 0, 5, 11, 17),  # no vowel
    (NONE, 0, 5, 12, 16, 23, 29, 44),  # four consonants running
    (NONE, 0, 5, 15, 19, 24, 32, 45, 56, 71, 75, 100, 160),  # one character
)
"""By ratio, thousandths, rising."""
