"use strict";

// The slider of the samples: one step is shown, the others are hidden.
const slider = document.getElementById("step");
if (slider) {
  const steps = document.querySelectorAll(".step");
  const label = document.getElementById("step-label");
  const show = () => {
    steps.forEach((step, place) => { step.hidden = place !== Number(slider.value); });
    const text = steps[slider.value].dataset.label;
    label.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  slider.addEventListener("input", show);
  show();
}

// Curves: plotly is unpacked from the page and draws the figures that the page holds.
const plots = [...document.querySelectorAll(".plot")];

async function unpackPlotly() {
  const packed = document.getElementById("plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
  packed.remove();
}

// The page's colors, which depend on the light or dark scheme.
function colors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: color("--grid"), linecolor: color("--line"), tickcolor: color("--line") };
  return {
    font: { color: color("--text"), size: 13, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--text") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--muted"), activecolor: color("--text") },
    xaxis: axis,
    yaxis: axis,
  };
}

function draw(plot) {
  const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
  const layout = figure.layout;
  for (const [name, value] of Object.entries(colors())) layout[name] = { ...layout[name], ...value };
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
  const remove = ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"];
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: remove };
  plot.classList.add("drawn");
  return Plotly.newPlot(plot, figure.data, layout, options);
}

async function drawAll() {
  await unpackPlotly();
  for (const plot of plots) await draw(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
  document.documentElement.dataset.drawn = "true";
}

if (plots.length && "DecompressionStream" in window) drawAll();
