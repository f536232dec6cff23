// Filters the sample of the reports page by a phrase, in all cells or one, and by one tag per drop-down.
"use strict";
const drafts = [...document.querySelectorAll(".draft")];
const controls = document.getElementById("controls");
const search = document.getElementById("search");
const where = document.getElementById("where");
const facets = [...controls.querySelectorAll(".facet")];

function plain(text) {
  return text.toLowerCase().replace(/\s+/g, " ").trim();
}

function filter() {
  const phrase = plain(search.value);
  const tags = facets.map((facet) => facet.value).filter(Boolean);
  let shown = 0;
  drafts.forEach((draft) => {
    const cell = draft.classList.contains(where.value) ? draft : draft.querySelector(`.${where.value}`);
    const fits = plain(cell.textContent).includes(phrase) && tags.every((tag) => draft.dataset.tags.includes(`|${tag}|`));
    draft.hidden = !fits;
    shown += fits;
  });
  document.getElementById("shown").textContent = `${shown} of ${drafts.length}`;
  document.getElementById("nothing").hidden = shown > 0;
}

function reset() {
  search.value = "";
  where.selectedIndex = 0;
  facets.forEach((facet) => { facet.selectedIndex = 0; });
  filter();
}

search.addEventListener("input", filter);
[where, ...facets].forEach((select) => select.addEventListener("change", filter));
document.getElementById("reset").addEventListener("click", reset);
controls.hidden = false;
filter();
