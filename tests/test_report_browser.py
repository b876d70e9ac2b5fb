"""Reports in a real browser: no error, no request, keys, colors, and small screens."""

import json

import pytest
from browsers import CONTRAST, SCHEMES, SIZES, faint, started_browser
from report_runs import write_run

from ganformer_jax.cli import main
from ganformer_jax.report.figures import COLORS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a run, and one that compares it with another."""
    folder = tmp_path_factory.mktemp("runs")
    schedule = {"step": 300, "kimg": 5.0, "schedule/learning_rate": 0.002, "loss/generator": 1.0}
    schedule |= {"gradient_norm/r1": 1e-3, "gradient_norm/generator": 50.0}
    one = write_run(folder / ("a-run-with-a-long-name-" * 4), extra=json.dumps(schedule) + "\n")
    other = write_run(folder / "b", end="stopped", attention=False)
    (one / "evaluations.jsonl").write_text('{"fid50k": 12.5, "noise": "random"}\n')
    names = folder / "one.html", folder / "both.html"
    main(["report", str(one), "--out", str(names[0])])
    main(["report", str(one), str(other), "--out", str(names[1])])
    return names


@pytest.fixture
def open_page(browser):
    """Opens a page with its curves drawn; a message of the console or a request is an error."""
    opened, wrong = [], []

    def requested(request):
        if not request.url.startswith(("data:", "blob:", "file://")):
            wrong.append(request.url)

    def open_it(path, size="desktop", scheme="light", **options):
        page = browser.new_page(viewport=SIZES[size], color_scheme=scheme, **options)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", requested)
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=120_000)
        opened.append(page)
        return page

    yield open_it
    for page in opened:
        page.close()
    assert not wrong, wrong


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_and_can_be_read(open_page, pages, size, scheme):
    for path in pages:
        page = open_page(path, size, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
        assert not faint(page, 100)[:5]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_curves_are_drawn_in_colors_that_can_be_seen(open_page, pages, scheme):
    page = open_page(pages[0], scheme=scheme)
    assert page.locator(".plot").count() == page.locator(".plot:has(.scatterlayer .trace)").count()
    card = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    swatches = "".join(
        f"<p style='color:{color};background:{card};font-size:30px'>x</p>" for color in COLORS
    )
    page.evaluate("(html) => { document.body.innerHTML = html.repeat(20); }", swatches)
    found = page.evaluate(CONTRAST)
    assert len(found) > 100 and min(contrast for _, contrast, _ in found) >= 3


def test_the_colors_of_curves_follow_the_scheme(open_page, pages):
    page = open_page(pages[0])

    def color():
        script = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
        return page.evaluate(script)

    light = color()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "(old) => getComputedStyle(document.querySelector('.plot .xtick text')).fill !== old",
        arg=light,
    )
    assert not faint(page, 100)[:5]


def test_the_slider_moves_by_keys(open_page, pages):
    page = open_page(pages[0])

    def shown():
        return page.locator(".step:not([hidden])").evaluate_all(
            "(steps) => steps.map((s) => [s.dataset.label, s.querySelector('img').src])"
        )

    slider = page.get_by_role("slider", name="Thousands of images")
    ((last, image),) = shown()
    assert last == "2.0 kimg" == page.locator("#step-label").inner_text()
    slider.focus()
    for key, label in [("ArrowLeft", "1.0 kimg"), ("Home", "0.0 kimg"), ("End", "2.0 kimg")]:
        page.keyboard.press(key)
        ((now, other),) = shown()
        assert now == label == slider.get_attribute("aria-valuetext")
        assert (other == image) == (label == last)
        assert page.locator("#step-label").inner_text() == label


def test_everything_is_reached_by_tab(open_page, pages):
    page = open_page(pages[0])
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):  # after the last one
            break
        reached.add(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    words = "".join(reached)
    for start in ('<a class="skip"', '<a href="#curves"', '<input type="range"', "<summary"):
        assert start in words


def test_a_page_without_scripts(open_page, pages):
    page = open_page(pages[0], java_script_enabled=False)
    assert page.locator(".step:visible").count() == 1
    assert page.locator(".plot p:visible").first.inner_text().startswith("Drawing needs")
