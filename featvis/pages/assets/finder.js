// One box that finds a layer, a unit or a class of the network; arrow keys choose, Enter goes there.
(() => {
  "use strict";
  const MOST = 12;
  const fold = (text) => text.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();

  // How well a word is met: its beginning before the beginning of a part, before anywhere inside.
  const meets = (text, word) => {
    const at = text.indexOf(word);
    if (at < 0) return Infinity;
    if (at === 0) return text.length === word.length ? 0 : 1;
    for (let place = at; place >= 0; place = text.indexOf(word, place + 1)) {
      if (!/[\p{L}\p{N}]/u.test(text[place - 1])) return 2;
    }
    return 3;
  };
  const rank = (text, words) => {
    let worst = 0;
    for (const word of words) worst = Math.max(worst, meets(text, word));
    return worst;
  };

  // Where the query ends in a number, that may be a unit's: "blocks.4:17", "blocks.4 17" or "17" alone.
  const readQuery = (query) => {
    const text = fold(query.trim());
    const found = /^(?:(.*?)[\s:]+)?(\d+)$/.exec(text);
    return {
      words: text.split(/\s+/).filter(Boolean),
      unit: found ? Number(found[2]) : null,
      layerWords: found ? (found[1] ?? "").split(/[\s:]+/).filter(Boolean) : [],
    };
  };

  const find = (layers, query, current) => {
    const { words, unit, layerWords } = readQuery(query);
    if (!words.length) return [];
    const found = [];
    const add = (order, place, layer, number, title, about) => found.push({ order, place, layer, unit: number, title, about });
    layers.forEach((layer, place) => {
      const name = fold(layer.name);
      const near = layer.name === current ? -1 : place;
      if (unit !== null && unit < layer.units) {
        const order = layerWords.length ? rank(name, layerWords) : layer.name === current ? 0.5 : 2.5;
        if (order < Infinity) add(order, near, layer.name, unit, `${layer.name}:${unit}`, layer.labels[unit] ?? "unit");
      }
      const order = rank(name, words);
      if (order < Infinity) add(order, place, layer.name, null, layer.name, `layer, ${layer.units} units`);
      layer.folded ??= layer.labels.map(fold);
      layer.folded.forEach((label, number) => {
        const met = rank(label, words);
        if (met < Infinity) add(met + 0.25, number, layer.name, number, layer.labels[number], `${layer.name}:${number}`);
      });
    });
    return found.sort((a, b) => a.order - b.order || a.place - b.place);
  };

  const start = ({ box, list, told, layers, current, choose }) => {
    let shown = [];
    let at = -1;
    const close = () => {
      list.hidden = true;
      box.setAttribute("aria-expanded", "false");
      box.removeAttribute("aria-activedescendant");
      at = -1;
    };
    const point = (to) => {
      at = to;
      [...list.children].forEach((item, place) => {
        item.setAttribute("aria-selected", String(place === at));
        if (place === at) item.scrollIntoView({ block: "nearest" });
      });
      if (at < 0) box.removeAttribute("aria-activedescendant");
      else box.setAttribute("aria-activedescendant", list.children[at].id);
    };
    const go = (one) => {
      box.value = "";
      told.textContent = "";
      close();
      choose(one);
    };
    const search = () => {
      const found = find(layers(), box.value, current());
      shown = found.slice(0, MOST);
      list.replaceChildren(...shown.map((one, place) => {
        const item = document.createElement("li");
        item.id = `found-${place}`;
        item.role = "option";
        item.ariaSelected = "false";
        const about = document.createElement("span");
        about.textContent = one.about;
        item.append(one.title, about);
        // Before the box loses the focus, which would close the list.
        item.addEventListener("pointerdown", (event) => event.preventDefault());
        item.addEventListener("click", () => go(one));
        return item;
      }));
      const left = found.length - shown.length;
      told.textContent = !box.value.trim() ? "" : !found.length ? "Nothing has that name." : left ? `${shown.length} of ${found.length} found` : `${found.length} found`;
      list.hidden = !shown.length;
      box.setAttribute("aria-expanded", String(shown.length > 0));
      point(shown.length ? 0 : -1);
    };
    box.addEventListener("input", search);
    box.addEventListener("focus", () => { if (box.value.trim()) search(); });
    box.addEventListener("blur", close);
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        if (list.hidden) box.blur();
        close();
      } else if (event.key === "Enter") {
        event.preventDefault();
        if (!list.hidden && at >= 0) go(shown[at]);
      } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && shown.length) {
        event.preventDefault();
        if (list.hidden) search();
        else point((at + (event.key === "ArrowDown" ? 1 : -1) + shown.length) % shown.length);
      }
    });
  };
  window.featvisFinder = { find, start };
})();
