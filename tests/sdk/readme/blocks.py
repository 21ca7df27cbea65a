"""The fenced blocks of the README, each with the heading that it stands under."""

import dataclasses
import pathlib
import re

README = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "README.md"


@dataclasses.dataclass(frozen=True)
class Block:
    """One block; `name` is what is above it, as in `Groups / Python`, and its number where there are several."""

    name: str
    language: str
    text: str


def blocks() -> dict[str, Block]:
    """All of them by their names, in order."""
    found, headings = {}, []
    fence = None
    for line in README.read_text().splitlines():
        if fence is not None and line == "```":
            name = unique(" / ".join(headings), found)
            found[name] = Block(name, *fence[:1], "\n".join(fence[1:]) + "\n")
            fence = None
        elif fence is not None:
            fence.append(line)
        elif opened := re.fullmatch(r"```(\w+)", line):
            fence = [opened[1]]
        elif heading := re.fullmatch(r"(##+) (.+)", line):
            headings = [*headings[: len(heading[1]) - 2], heading[2]]
    assert fence is None, "a block has no end"
    return found


def unique(name: str, taken) -> str:
    names = [name or "Top"] + [f"{name or 'Top'} #{number}" for number in range(2, 9)]
    return next(candidate for candidate in names if candidate not in taken)
