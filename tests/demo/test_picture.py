"""The README's picture shows what Langfuse would have, and is what its script draws."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.demo import picture
from tests.demo.picture import REPEATED, TOLD, prompt_of, svg_of

pytestmark = pytest.mark.newest  # SQLAlchemy 2.0 words the query differently

HERE = Path(picture.__file__).parents[2] / "docs" / "langfuse.svg"


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter() if each.tag.endswith("text")]


@pytest.fixture(scope="module")
def drawn(sent) -> list[str]:
    _, server = sent
    return texts(svg_of(server.observations))


def test_the_upper_half_is_what_langfuse_has_without_us(sent, drawn):
    _, server = sent
    before = drawn[: next(at for at, said in enumerate(drawn) if said.startswith("After"))]
    trace = prompt_of(server.observations)
    for each in trace:
        assert each.name in before
        assert f"{each.end_ms - each.start_ms:,} ms" in before
    assert not [said for said in before if "db_" in said or "database" in said]


def test_the_lower_half_adds_what_the_tools_observation_says(sent, drawn):
    _, server = sent
    tool = next(each for each in prompt_of(server.observations) if each.type == "TOOL")
    for key in TOLD:
        assert any(f"{key} {tool.metadata[key]}" in said for said in drawn)
    repeated, _, place = tool.metadata[REPEATED].rpartition(" at ")
    assert any(said.startswith(f"{REPEATED} {repeated[:60]}") for said in drawn)
    assert f"at {place}" in drawn
    assert f"{float(tool.metadata['db_share']):.0%} in the database" in drawn


def test_the_picture_in_the_repository_is_drawn_by_the_script(drawn):
    """Times differ from run to run, and line numbers from edit to edit; nothing else does."""
    kept, made = (
        [re.sub(r"[\d.,]+", "0", said) for said in each]
        for each in (texts(HERE.read_text(encoding="utf-8")), drawn)
    )
    assert kept == made


def test_the_picture_needs_nothing_from_elsewhere():
    svg = HERE.read_text(encoding="utf-8")
    assert len(svg) < 20_000
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
