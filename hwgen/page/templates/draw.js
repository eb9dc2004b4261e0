"use strict";
// Charts hold placeholders for the colours of text and lines; they are drawn anew when the screen
// goes from light to dark.
const text = document.getElementById("charts").textContent;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const style = getComputedStyle(document.documentElement);
  const items = JSON.parse(text
    .replaceAll("#010203", style.getPropertyValue("--ink").trim())
    .replaceAll("#040506", style.getPropertyValue("--line").trim()));
  for (const [name, item] of Object.entries(items)) {
    const place = document.getElementById("chart-" + name);
    place.replaceChildren();
    // A drawing that is wider than the window begins with its middle.
    Bokeh.embed.embed_item(item).then(() => {
      place.scrollLeft = (place.scrollWidth - place.clientWidth) / 2;
    });
  }
}
draw();
dark.addEventListener("change", draw);
