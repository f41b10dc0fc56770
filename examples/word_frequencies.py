"""Which words does a text use most?"""

import re
from collections import Counter


def main(text: str, top: int = 10, longer_than: int = 3) -> dict[str, int]:
    """The most frequent words with more than `longer_than` letters."""
    words = re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())
    counts = Counter(word for word in words if len(word) > longer_than)
    return dict(counts.most_common(top))
