// The gallery's one script: theme, keys, filter and sort. Without it the pages show everything all the same.
(() => {
  "use strict";
  const root = document.documentElement;
  const THEME = "featvis-theme";

  // A browser may refuse storage to pages from disk; then the choice lasts as long as the page.
  const remembered = () => {
    try { return localStorage.getItem(THEME); } catch { return null; }
  };
  const remember = (theme) => {
    try { localStorage.setItem(THEME, theme); } catch { /* refused */ }
  };
  const saved = remembered();
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;

  const startTheme = () => {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  };

  const startKeys = () => {
    const ways = { ArrowLeft: "prev", ArrowRight: "next", u: "up", Escape: "up" };
    const filter = document.getElementById("filter");
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const at = event.target;
      if (at instanceof Element && at.closest("input, textarea, select, [contenteditable]")) return;
      const link = ways[event.key] && document.querySelector(`a[rel="${ways[event.key]}"]`);
      if (link) {
        event.preventDefault();
        location.assign(link.href);
      } else if (event.key === "/" && filter) {
        event.preventDefault();
        filter.focus();
      }
    });
    const told = document.querySelector(".keys");
    told.hidden = told.textContent.trim() === "";
  };

  // Upper and lower case and accents do not matter.
  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");

  // What the filter says: numbers and ranges as in addresses (12; 3,17; 0:64, its end not included), or words.
  const read = (query) => {
    const text = plain(query).trim();
    const spans = text.split(",").map((part) => /^\s*(?:unit\s+)?(\d+)\s*(?::\s*(\d+)\s*)?$/.exec(part));
    if (text !== "" && spans.every(Boolean)) {
      const ranges = spans.map(([, first, end]) => [Number(first), end === undefined ? Number(first) + 1 : Number(end)]);
      return (card) => ranges.some(([first, end]) => card.unit >= first && card.unit < end);
    }
    const words = text.split(/[\s,]+/).filter(Boolean);
    return (card) => words.every((word) => card.text.includes(word));
  };

  const startCards = () => {
    const list = document.getElementById("cards");
    if (!list) return;
    const [filter, sort, shown] = ["filter", "sort", "shown"].map((id) => document.getElementById(id));
    const nothing = document.getElementById("nothing");
    const cards = Array.from(list.children, (item) => {
      const { place, order, unit, score, find } = item.dataset;
      return {
        item,
        place: Number(place),
        order: Number(order),
        unit: unit === undefined ? NaN : Number(unit),
        score: score === undefined ? -Infinity : Number(score),
        text: plain(find ?? ""),
      };
    });
    const ways = {
      place: (a, b) => a.place - b.place,
      order: (a, b) => a.order - b.order,
      // The best first; what has none keeps its place at the end.
      score: (a, b) => (a.score === b.score ? a.place - b.place : b.score - a.score),
    };
    const noun = shown.dataset.noun;
    const say = (number) => number.toLocaleString("en");
    const announce = (count) => {
      const all = `${say(cards.length)} ${cards.length === 1 ? noun : `${noun}s`}`;
      shown.textContent = count === cards.length ? all : `${say(count)} of ${all}`;
      nothing.hidden = count > 0;
    };
    let sorted = "place";
    const apply = () => {
      const matches = read(filter.value);
      let count = 0;
      for (const card of cards) {
        const fits = matches(card);
        if (card.item.hidden === fits) card.item.hidden = !fits;
        count += fits;
      }
      if (sort.value !== sorted) {
        sorted = sort.value;
        cards.sort(ways[sorted]);
        list.append(...cards.map((card) => card.item));
      }
      announce(count);
    };
    const change = () => {
      apply();
      // So that coming back from a unit finds the list as it was left.
      try { history.replaceState({ filter: filter.value, sort: sort.value }, ""); } catch { /* refused */ }
    };
    filter.addEventListener("input", change);
    sort.addEventListener("change", change);
    const before = history.state;
    filter.value = typeof before?.filter === "string" ? before.filter : "";
    sort.value = before?.sort in ways ? before.sort : "place";
    apply();
    filter.closest(".tools").hidden = false;
  };

  document.addEventListener("DOMContentLoaded", () => {
    startTheme();
    startKeys();
    startCards();
  });
})();
