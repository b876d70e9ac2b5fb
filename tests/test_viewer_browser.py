"""The viewer in a real browser: clicks, keys, edits and their way back, colors, small screens."""

import re
import signal
import webbrowser
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from browsers import SCHEMES, SIZES, faint, started_browser
from processes import finish, start_run_py
from viewed import KINDS, export, viewed

from ganformer_jax.sampling import read_latents
from ganformer_jax.viewer import serve

pytestmark = pytest.mark.slow
PIXELS = """(id) => {
  const canvas = document.getElementById(id);
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
}"""
MANY_INPUTS = """(id) => { for (let i = 1; i <= 50; i += 1) {
  const slider = document.querySelector(id);
  slider.value = i / 100;
  slider.dispatchEvent(new Event("input"));
} }"""


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serves a generator of a kind; returns the URL that the command prints."""
    served, processes = {}, []

    def serve(kind):
        if kind not in served:
            path = export(tmp_path_factory.mktemp(kind.replace(" ", "-")), kind)
            condition = ("--condition", "0.5,-1") if kind == "conditions" else ()
            command = ("view", "--workdir", path, "--no-open", *condition)
            processes.extend(start_run_py(1, *command))
            for line in processes[-1].stdout:
                if found := re.match("viewer: (.*)", line):
                    served[kind] = found[1]
                    break
        return served[kind]

    yield serve
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [code for code, _, _ in finish(processes)] == [0] * len(processes)


@pytest.fixture
def open_page(browser, address):
    """Opens the viewer; a message of the console or a request to another place is an error."""
    opened, wrong = [], []

    def open_it(kind="ganformer", size="desktop", scheme="light", fragment=""):
        url = address(kind)
        place = "http://" + urlsplit(url).netloc + "/"
        page = browser.new_page(viewport=SIZES[size], color_scheme=scheme)
        page.set_default_timeout(15_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((place, "data:", f"blob:{place}"))
                or wrong.append(request.url)
            ),
        )
        page.goto(url + fragment)
        opened.append(page)
        settled(page)
        return page

    yield open_it
    for page in opened:
        page.close()
    assert not wrong, wrong


def settled(page):
    """Wait until the newest state is shown; return its image."""
    page.wait_for_selector("html:not([data-busy]):has(#image[src])", state="attached")
    assert page.locator("#alert").is_hidden(), page.locator("#alert").inner_text()
    return page.locator("#image").get_attribute("src")


def fragment(page):
    return {name: values for name, values in parse_qs(urlsplit(page.url).fragment).items()}


def heading(page):
    return page.locator("#picked-heading").inner_text()


def entry(page, name):
    """The button of a component, by its number from 1, or of "Global latent" or "All latents"."""
    key = str(name).split()[0].lower()
    return page.locator(f'#legend [data-key="{int(key) - 1 if key.isdecimal() else key}"]')


def slide(page, name, value):
    page.get_by_role("slider", name=name).fill(str(value))


@pytest.mark.parametrize("panel", ["#image-panel", "#map-panel"])
@pytest.mark.parametrize("kind", ["ganformer", "oblong"])
def test_a_click_picks_the_component_that_the_pixel_attends_to(open_page, kind, panel):
    generator = viewed(kind)
    page = open_page(kind)
    found = set()
    for seed in (0, 1, 3):
        page.locator("#seed").fill(str(seed))
        settled(page)
        segments = generator.view(generator.parse({"seed": seed})).segments
        assert segments is not None
        rows, columns = segments.shape
        for component in np.unique(segments):
            row, column = np.argwhere(segments == component)[-1]
            box = page.locator(panel).bounding_box()
            x = box["width"] * (column + 0.5) / columns
            page.locator(panel).click(position={"x": x, "y": box["height"] * (row + 0.5) / rows})
            assert heading(page) == f"Component {component + 1}"
            assert entry(page, component + 1).get_attribute("aria-pressed") == "true"
            found.add(component)
    assert len(found) > 1 or kind == "oblong"


def test_the_map_has_the_colors_of_the_components(open_page):
    generator = viewed("ganformer")
    page = open_page(fragment="#seed=5&picked=global")
    segments = generator.view(generator.parse({"seed": 5})).segments
    assert segments is not None
    palette = [
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
    ]
    pixels = np.array(page.evaluate(PIXELS, "map")).reshape(-1, 4)
    np.testing.assert_array_equal(pixels[:, :3], np.array(palette)[segments.ravel()])
    shares = [entry(page, k + 1).locator(".share").inner_text() for k in range(3)]
    assert shares == [f"{100 * (segments == k).mean() + 1e-9:.0f}%" for k in range(3)]
    slide(page, "Overlay", 0.5)
    assert page.locator("#overlay").evaluate("(e) => getComputedStyle(e).opacity") == "0.5"


@pytest.mark.parametrize("name", ["3", "Global latent", "All latents"])
def test_edits_change_the_image_and_can_be_undone(open_page, name):
    page = open_page()
    first = settled(page)
    entry(page, name).click()
    assert settled(page) == first
    page.locator("#source").fill("11")
    assert settled(page) == first
    slide(page, "Interpolate", 0.5)
    halfway = settled(page)
    page.get_by_role("button", name="Swap with seed 11").click()
    swapped = settled(page)
    assert len({first, halfway, swapped}) == 3
    assert page.get_by_role("slider", name="Interpolate").input_value() == "1"
    assert "seed 11" in entry(page, name).inner_text()
    slide(page, "Interpolate", 0)
    assert settled(page) == first
    for image in (swapped, halfway, first):
        page.get_by_role("button", name="Undo").click()
        assert settled(page) == image
    slide(page, "Interpolate", 1)
    assert settled(page) == swapped
    page.get_by_role("button", name="Show unedited").click()
    assert settled(page) == first
    page.get_by_role("button", name="Show unedited").click()
    assert settled(page) == swapped
    page.get_by_role("button", name="Reset").click()
    assert settled(page) == first
    page.keyboard.press("Control+z")
    assert settled(page) == swapped
    if name == "All latents":
        page.locator("#seed").fill("11")
        settled(page)
        page.get_by_role("button", name="Reset").click()
        assert settled(page) == swapped


def test_a_removed_component_has_no_pixels(open_page):
    page = open_page()
    first = settled(page)
    shares = [entry(page, k + 1).locator(".share").inner_text() for k in range(3)]
    largest = 1 + int(np.argmax([int(share.rstrip("%")) for share in shares]))
    assert shares[largest - 1] != "0%"
    entry(page, largest).click()
    assert page.locator("#changes dd").all_inner_texts()[2] == "0.00"
    page.get_by_role("button", name="Remove", exact=True).click()
    assert settled(page) != first
    assert "removed" in entry(page, largest).inner_text()
    assert entry(page, largest).locator(".share").inner_text() == "0%"
    inside, outside, entire = page.locator("#changes dd").all_inner_texts()
    assert float(entire) > 0 and inside != outside
    others = [k for k in (1, 2, 3) if k != largest]
    entry(page, others[0]).click()
    page.get_by_role("button", name="Remove", exact=True).click()
    settled(page)
    entry(page, others[1]).click()
    assert page.get_by_role("button", name="Remove", exact=True).is_disabled()  # the last one
    for k in (largest, others[0]):
        entry(page, k).click()
        page.get_by_role("button", name="Restore").click()
        settled(page)
    assert settled(page) == first


def test_a_component_is_dragged_to_another_place(open_page):
    generator = viewed("places")
    page = open_page("places")
    first = settled(page)
    segments = generator.view(generator.parse({"seed": 0})).segments
    assert segments is not None
    rows, columns = segments.shape
    component = int(segments[segments < 3][0])
    row, column = np.argwhere(segments == component)[0]
    box = page.locator("#image-panel").bounding_box()
    at = box["x"] + box["width"] * (column + 0.5) / columns
    down = box["y"] + box["height"] * (row + 0.5) / rows
    page.mouse.move(at, down)
    page.mouse.down()
    page.mouse.move(at + box["width"] / 4, down, steps=4)
    page.mouse.up()
    moved = settled(page)
    assert moved != first and heading(page) == f"Component {component + 1}"
    assert "moved" in entry(page, component + 1).inner_text()
    assert float(page.get_by_role("slider", name="Move right").input_value()) == pytest.approx(0.5)
    page.reload()
    assert settled(page) == moved
    slide(page, "Move right", 0)
    slide(page, "Move down", 0)
    assert settled(page) == first
    page.get_by_role("button", name="Undo").click()
    assert settled(page) == moved
    entry(page, "Global latent").click()
    assert page.get_by_role("slider", name="Move right").is_hidden()


def test_seeds_truncation_and_noise(open_page):
    page = open_page()
    images = [settled(page)]
    page.get_by_role("button", name="Next seed", exact=True).click()
    images.append(settled(page))
    page.get_by_role("button", name="Previous seed", exact=True).click()
    assert settled(page) == images[0]
    slide(page, "Truncation", 0.2)
    images.append(settled(page))
    for noise in ("random", "none"):
        page.get_by_label("Noise").select_option(noise)
        images.append(settled(page))
    assert len(set(images)) == 5
    page.get_by_role("button", name="Previous seed", exact=True).click()
    settled(page)
    assert page.locator("#seed").input_value() == "4294967295"
    for wrong in ("-1", "4294967296", ""):
        page.locator("#seed").fill(wrong)
        settled(page)
        page.locator("#psi").focus()
        assert page.locator("#seed").input_value() == "4294967295"


def test_undo_returns_a_list_of_classes_that_has_the_focus(open_page):
    page = open_page("classes")
    first, classes = settled(page), page.get_by_label("Class")
    classes.focus()
    classes.select_option("1")
    assert settled(page) != first
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.keyboard.press("Control+z")
    assert settled(page) == first and classes.input_value() == "0"


def test_the_url_changes_once_per_answer_and_may_fail_to(open_page):
    """Browsers allow a hundred or two in half a minute, and then raise an error."""
    page = open_page()
    page.evaluate(
        """() => {
          window.written = 0;
          history.replaceState = () => { window.written += 1; throw new DOMException("limit"); };
        }"""
    )
    sent = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request))
    page.evaluate(MANY_INPUTS, "#psi")
    settled(page)
    assert 1 <= page.evaluate("window.written") == len(sent) < 10
    page.evaluate("window.written = 0")
    page.evaluate(MANY_INPUTS, "#opacity")
    page.wait_for_timeout(1000)
    assert page.evaluate("window.written") == 1 and page.locator("#alert").is_hidden()


def test_a_drag_sends_one_request_at_a_time_and_ends_with_the_newest(open_page):
    page = open_page()
    sent, most, open_now = [], [], set()

    def requested(request):
        if request.method == "POST":  # images are requests too, of data: addresses
            sent.append(request.post_data)
            open_now.add(request)
            most.append(len(open_now))

    page.on("request", requested)
    page.on("requestfinished", lambda request: open_now.discard(request))
    page.evaluate(MANY_INPUTS, "#psi")
    last = settled(page)
    assert max(most) == 1
    assert 1 < len(sent) < 10 and '"psi":0.5' in sent[-1]
    assert fragment(page)["psi"] == ["0.5"]
    page.reload()
    assert settled(page) == last


@pytest.mark.parametrize("kind", ["ganformer", "classes", "conditions"])
def test_a_reload_keeps_the_state(open_page, kind):
    page = open_page(kind)
    page.locator("#seed").fill("7")
    if kind == "classes":
        page.get_by_label("Class").select_option("1")
    elif kind == "conditions":
        page.locator("#labels input").nth(1).fill("2.5")
    page.get_by_label("Attention").select_option("1")
    entry(page, 2).click()
    page.locator("#source").fill("9")
    slide(page, "Interpolate", 0.4)
    entry(page, 3).click()
    page.get_by_role("button", name="Remove", exact=True).click()
    image, colors = settled(page), page.evaluate(PIXELS, "map")
    slide(page, "Overlay", 0.5)
    page.wait_for_url("**overlay=0.5*")
    kept = fragment(page)
    assert kept["edit"] == ["1~9~0.4", "2~9~0~removed"] and kept["layer"] == ["1"]
    page.reload()
    assert settled(page) == image
    assert page.evaluate(PIXELS, "map") == colors and fragment(page) == kept
    assert heading(page) == "Component 3"
    assert page.get_by_role("button", name="Restore").is_visible()
    if kind == "classes":
        assert page.get_by_label("Class").input_value() == "1"
    elif kind == "conditions":
        assert page.locator("#labels input").nth(1).input_value() == "2.5"


def test_fragments_that_mean_nothing(open_page):
    nonsense = "#seed=x&psi=&label=3&noise=loud&layer=99&picked=zz&overlay=-4"
    nonsense += "&edit=7~1~1&edit=&edit=0~a~b&edit=global~3~0~removed&edit=__proto__~1~1"
    page = open_page(fragment=nonsense)
    assert fragment(page) == {
        **{"seed": ["0"], "psi": ["0.7"], "noise": ["const"], "source": ["1"]},
        **{"overlay": ["0"], "picked": ["0"], "layer": ["2"]},
    }


def test_a_generator_without_components(open_page):
    page = open_page("stylegan2")
    first = settled(page)
    assert page.locator("#legend button").all_inner_texts() == ["Global latent"]
    assert not page.locator("#map-figure").is_visible()
    assert not page.get_by_role("button", name="Remove", exact=True).is_visible()
    page.get_by_role("button", name="Swap").click()
    assert settled(page) != first
    assert float(page.locator("#changes dd").inner_text()) > 0


def test_files_are_saved(open_page, tmp_path):
    page = open_page(fragment="#seed=5&edit=1~9~1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    assert (tmp_path / "seed-5.png").read_bytes()[:4] == b"\x89PNG"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save latents").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    latents = read_latents(tmp_path / "latents.npz", KINDS["ganformer"])
    generator = viewed("ganformer")
    edits = [{"component": 1, "kind": "swap", "seed": 9}]
    expected = generator.latents(generator.parse({"seed": 5, "edits": edits}))
    np.testing.assert_array_equal(latents.w_BxKxLxD, expected.w_BxKxLxD)


def test_everything_is_reached_by_tab_and_used_by_keys(open_page):
    page = open_page(fragment="#seed=1&edit=1~9~0.5&picked=1")
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):  # after the last one
            break
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.innerText")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
    controls = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select")]
          .filter((e) => e.checkVisibility() && !e.disabled).map((e) => e.id || e.innerText)"""
    )
    assert sorted(reached) == sorted(controls) and len(controls) > 25
    unnamed = """() => [...document.querySelectorAll("button, input, select")].filter((e) =>
      !(e.innerText || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)"""
    assert page.evaluate(unnamed) == []
    entry(page, 3).focus()
    page.keyboard.press("Enter")
    assert heading(page) == "Component 3"
    before = settled(page)
    page.locator("#t").focus()
    page.keyboard.press("End")
    assert settled(page) != before
    page.locator("#status", has_text="Component 3").wait_for(state="attached")
    page.keyboard.press("Control+z")
    assert settled(page) == before


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["ganformer", "conditions"])
def test_the_page_fits_and_can_be_read(open_page, kind, size, scheme):
    page = open_page(
        kind, size, scheme, "#edit=0~4294967295~1&edit=1~5~0~removed&edit=global~4294967295~1"
    )
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
    assert not faint(page, 30)
    outside = """() => [...document.querySelectorAll(".legend span, .actions button, .row *")]
      .filter((e) => e.checkVisibility() && !e.matches(".visually-hidden, option")
        && e.getBoundingClientRect().right > e.closest("li, section, header")
          .getBoundingClientRect().right + 0.5).map((e) => e.outerHTML)"""
    assert page.evaluate(outside) == []


def test_the_file_that_a_browser_opens_leads_to_the_page(browser, address, monkeypatch):
    page = browser.new_page()
    monkeypatch.setattr(serve, "has_display", lambda: True)
    monkeypatch.setattr(webbrowser, "open", page.goto)
    with serve.opened_in_browser(address("stylegan2")):
        page.wait_for_url(re.compile(r"http://127\.0\.0\.1:\d+/\?token="))
        settled(page)
    page.close()


def test_an_end_of_the_server_is_said(browser, tmp_path):
    path = export(tmp_path, "stylegan2")
    (process,) = start_run_py(1, "view", "--workdir", path, "--no-open")
    assert process.stdout is not None
    url = next(line for line in process.stdout if line.startswith("viewer")).split()[1]
    page = browser.new_page()
    page.goto(url)
    settled(page)
    process.send_signal(signal.SIGINT)
    assert finish([process])[0][0] == 0
    page.get_by_role("button", name="Next seed", exact=True).click()
    page.wait_for_selector("#alert:visible")
    assert "does not answer" in page.locator("#alert").inner_text()
    page.close()
