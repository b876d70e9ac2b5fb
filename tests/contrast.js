// The contrasts of all text that can be seen, as WCAG 2 defines them: [text, contrast, large].
() => {
  const parse = (color) => {
    const numbers = (color.match(/[\d.]+/g) || []).map(Number);
    const scale = color.startsWith("color(srgb") ? 255 : 1;
    const [r = 0, g = 0, b = 0, a = 1] = numbers;
    return color === "none" || color === "transparent" ? [0, 0, 0, 0] : [r * scale, g * scale, b * scale, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.textContent.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (element.closest("script, style, option, progress, .visually-hidden, .skip, .modebar")) continue;
    const style = getComputedStyle(element);
    const color = parse(element.closest("svg") ? style.fill : style.color);
    const below = background(element);
    const [a, b] = [luminance(over(color, below)), luminance(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    found.push([text, (a + 0.05) / (b + 0.05), size >= 24 || (size >= 18.66 && style.fontWeight >= 700)]);
  }
  return found;
}
