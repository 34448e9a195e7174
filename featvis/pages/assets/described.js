// Units with their words: searched by words and addresses, sorted, one after the other by their links.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const list = $("units");
  const units = [...list.children].map((item, place) => ({
    item,
    place,
    name: item.dataset.name.toLowerCase(),
    words: [...item.querySelectorAll("[data-word]")].map((line) => ({
      line,
      text: line.dataset.word.toLowerCase(),
      certainty: Number(line.dataset.certainty),
    })),
  }));

  // Every part of what is typed begins a word of the unit's word, or stands in its address.
  const begins = (text, part) => text.split(/[\s\-,]+/).some((word) => word.startsWith(part));
  const match = (unit, parts) => {
    let best = parts.every((part) => unit.name.includes(part)) ? 2 : -1;
    for (const { line, text, certainty } of unit.words) {
      const fits = parts.length > 0 && parts.every((part) => begins(text, part));
      line.classList.toggle("found", fits);
      if (fits && best < 2) best = Math.max(best, certainty);
    }
    return best;
  };

  const draw = () => {
    const parts = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const layer = $("layer")?.value ?? "";
    const sort = $("sort").value;
    const found = [];
    for (const unit of units) {
      const fits = match(unit, parts);
      const shown = fits >= 0 && (layer === "" || unit.item.dataset.layer === layer);
      unit.item.hidden = !shown;
      if (shown) found.push({ unit, fits, value: Number(unit.item.dataset[sort] ?? -Infinity) });
    }
    found.sort((one, other) =>
      (sort ? other.value - one.value : 0) || (parts.length ? other.fits - one.fits : 0) || one.unit.place - other.unit.place || 0);
    list.append(...found.map(({ unit }) => unit.item));
    const count = `${found.length.toLocaleString("en")} of ${units.length.toLocaleString("en")} units`;
    $("shown").textContent = found.length || !parts.length ? count : `${count}; no unit has this among its words`;
  };

  const search = (text) => {
    $("words").value = text;
    draw();
  };

  // A link to a unit that the search hides shows it again.
  const follow = () => {
    const item = document.getElementById(location.hash.slice(1));
    if (item === null || item.parentElement !== list) return;
    if (item.hidden) {
      if ($("layer")) $("layer").value = "";
      search("");
    }
    item.scrollIntoView({ block: "nearest" });
    item.focus({ preventScroll: true });
  };

  list.querySelectorAll("button").forEach((button) => {
    button.disabled = false;
    button.addEventListener("click", () => {
      search(button.textContent);
      $("words").focus();
      $("finder").scrollIntoView({ block: "nearest" });
    });
  });
  ["input", "search"].forEach((kind) => $("words").addEventListener(kind, draw));
  [$("sort"), $("layer")].forEach((one) => one?.addEventListener("change", draw));
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      $("words").focus();
      $("words").select();
    } else if (event.key === "Escape" && $("words").value !== "") {
      event.preventDefault();
      search("");
    }
  });
  $("finder").hidden = false;
  follow();
})();
