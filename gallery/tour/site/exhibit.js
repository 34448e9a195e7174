// The gallery's own script: search, filter, random unit, slide show, copying, figures, comparison.
// Texts of a gallery become text nodes, never markup; addresses are made of paths within the folder.
(() => {
  "use strict";
  const root = document.documentElement;
  const own = document.currentScript.src;
  const byId = (id) => document.getElementById(id);

  const h = (tag, told = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(told)) {
      if (name === "on") for (const [type, act] of Object.entries(value)) element.addEventListener(type, act);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const say = (number) => number.toLocaleString("en");
  const count = (number, one, many = `${one}s`) => `${say(number)} ${number === 1 ? one : many}`;
  // As the pages write them: three digits, a true minus sign.
  const sayScore = (value) => {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    let text;
    if (size >= 1000 && size < 1e9) text = value.toLocaleString("en", { maximumFractionDigits: 0 });
    else if (size >= 1e-4 && size < 1000) text = value.toPrecision(3);
    else text = value.toExponential(2);
    return text.replaceAll("-", "−");
  };
  // Upper and lower case and accents do not matter.
  const plain = (text) => {
    const low = text.toLowerCase();
    return /^[\x00-\x7f]*$/.test(low) ? low : low.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  };

  // Addresses of one page may differ in what is escaped, and a host leaves index.html out.
  const pathOf = (address) => decodeURIComponent(new URL(address).pathname).replace(/\/$/, "/index.html");
  const isHere = (address) => pathOf(address) === pathOf(location.href);

  // What a page shows stands in its address, after the #, which also pages from disk may change.
  const readState = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const writeState = (changes) => {
    const state = readState();
    for (const [name, value] of Object.entries(changes)) value ? state.set(name, value) : state.delete(name);
    const text = state.toString().replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%2C", ",");
    const address = location.href.split("#")[0] + (text ? `#${text}` : "");
    if (address === location.href) return;
    try { history.replaceState(null, "", address); } catch { /* refused */ }
  };

  // The units of a gallery, of one or more folders: each folder's site/units.js hands them over.
  const galleries = [];
  // What is made of a unit's table is made when it is asked for: of thousands of units a page shows few.
  globalThis.featvisGallery = (told) => {
    const base = new URL("..", document.currentScript.src);
    const address = (path) => new URL(path.split("/").map(encodeURIComponent).join("/"), base).href;
    const place = galleries.length;
    const gallery = { place, title: told.title, model: told.model, layers: [], units: [] };
    for (const { name, page, named, objectives, units } of told.layers) {
      const layer = { name, page: address(page), named, objectives, gallery, units: [] };
      gallery.layers.push(layer);
      for (const [number, title, label, path, status, faults, praise, rows, said = []] of units) {
        const unit = {
          layer, number, label, status, faults, praise,
          name: title,
          short: label ? label.split(",")[0].trim() : number === null ? title : String(number),
          get page() { return address(path); },
          get text() { return (this.words ??= plain([name, title, label, ...faults, ...praise, ...said].join(" "))); },
          get names() { return (this.synonyms ??= label ? plain(label).split(",").map((one) => one.trim()) : []); },
        };
        unit.pictures = rows.map(([file, height, width, score, what, recipe, seed, view]) => ({
          unit, file, height, width, score, what, seed,
          recipe: told.recipes[recipe],
          get url() { return address(view ?? file); },
          get thumbnail() { return address(file.replace(/([^/]*)\.[^./]*$/, "thumbs/$1.webp")); },
        }));
        layer.units.push(unit);
        gallery.units.push(unit);
      }
    }
    galleries.push(gallery);
  };
  const loadScript = (address) => new Promise((done, failed) => {
    document.head.append(h("script", { src: address, on: { load: done, error: () => failed(new Error(address)) } }));
  });
  let loading;
  const load = (addresses = [new URL("units.js", own).href]) => {
    // One after the other, so that the folders stay in their order.
    loading ??= addresses.reduce((before, address) => before.then(() => loadScript(address)), Promise.resolve())
      .then(() => galleries);
    return loading;
  };
  const everyUnit = () => galleries.flatMap((gallery) => gallery.units);
  const leads = (units) => units.map((unit) => unit.pictures[0]).filter(Boolean);
  const titleOf = (picture) => {
    const { unit } = picture;
    return unit.label ? unit.label : unit.number === null ? unit.name : `${unit.layer.name}, ${unit.name}`;
  };

  // What a search says: numbers and ranges as in addresses (12; 3,17; 0:64, its end not included), or words.
  const readRanges = (text) => {
    const spans = text.split(",").map((part) => /^\s*(?:unit\s+)?(\d+)\s*(?::\s*(\d+)\s*)?$/.exec(part));
    if (text.trim() === "" || !spans.every(Boolean)) return null;
    const ranges = spans.map(([, first, end]) => [Number(first), end === undefined ? Number(first) + 1 : Number(end)]);
    return (number) => ranges.some(([first, end]) => number !== null && number >= first && number < end);
  };
  const readWords = (text) => {
    const words = text.split(/[\s,]+/).filter(Boolean);
    return (told) => words.every((word) => told.includes(word));
  };
  const readQuery = (query) => {
    const text = plain(query).trim();
    const ranges = readRanges(text);
    if (ranges) return (item) => ranges(item.number);
    const words = readWords(text);
    return (item) => words(item.text);
  };
  // The same with a layer before it: blocks.3:0:8, classifier:corgi. The likeliest come first.
  const search = (query) => {
    const text = plain(query).trim();
    const fits = readQuery(query);
    const [, layer, rest] = /^([^:]*[^\d\s,:][^:]*):(.*)$/.exec(text) ?? [];
    const inLayer = layer === undefined ? null : readQuery(rest);
    const matches = (unit) => fits(unit) ||
      (inLayer !== null && plain(unit.layer.name).includes(layer.trim()) && inLayer(unit));
    const starts = new RegExp(`(?:^|[^\\p{L}\\p{N}])${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "u");
    const rank = (unit) => {
      if (unit.names.includes(text)) return 0;
      if (unit.names.some((name) => name.startsWith(text))) return 1;
      return starts.test(unit.text) ? 2 : 3;
    };
    const found = everyUnit().filter(matches).map((unit, place) => ({ unit, place, rank: rank(unit) }));
    found.sort((a, b) => a.rank - b.rank || a.place - b.place);
    const words = readWords(text);
    const layers = galleries.flatMap((gallery) => gallery.layers).filter((one) => text && words(plain(one.name)));
    return { units: found.map(({ unit }) => unit), layers };
  };

  // A picture grows by whole numbers of the screen's dots, so that each of its pixels stays a sharp square; where
  // not even twice its size has room it fills that room smoothly.
  const fit = (image, width, height, room, rows) => {
    const dots = devicePixelRatio || 1;
    let scale = Math.min(room / width, rows / height);
    const grows = scale * dots >= 2;
    if (grows) scale = Math.floor(scale * dots + 1e-6) / dots;
    image.classList.toggle("coarse", grows);
    image.style.width = `${width * scale}px`;
    image.style.height = `${height * scale}px`;
  };
  const SMOOTH = "featvis-smooth";
  const startSmooth = (button) => {
    const show = () => button.setAttribute("aria-pressed", String(root.dataset.pixels === "smooth"));
    button.addEventListener("click", () => {
      root.dataset.pixels = root.dataset.pixels === "smooth" ? "crisp" : "smooth";
      try { localStorage.setItem(SMOOTH, root.dataset.pixels); } catch { /* refused */ }
      show();
    });
    show();
  };
  try {
    if (localStorage.getItem(SMOOTH) === "smooth") root.dataset.pixels = "smooth";
  } catch { /* refused */ }

  // Full screen, and the slide show: a dialog over the page.
  const SECONDS = 4;
  const viewer = (() => {
    let dialog, image, caption, link, play, list = [], at = 0, timer, before, isShown = false;
    const isPlaying = () => timer !== undefined;
    const stop = () => {
      clearInterval(timer);
      timer = undefined;
      play.textContent = "Play";
      caption.setAttribute("aria-live", "polite");
    };
    const start = () => {
      stop();
      timer = setInterval(() => go(at + 1), SECONDS * 1000);
      play.textContent = "Stop";
      caption.setAttribute("aria-live", "off");
    };
    const size = () => {
      const { width, height } = list[at];
      const bar = dialog.querySelector(".bar").getBoundingClientRect().height;
      if (width && height) fit(image, width, height, innerWidth, innerHeight - bar);
    };
    const show = () => {
      const picture = list[at];
      const { unit } = picture;
      image.removeAttribute("style");
      image.src = picture.url;
      image.alt = `${titleOf(picture)}: picture`;
      link.href = unit.page;
      link.textContent = titleOf(picture);
      const told = [
        unit.label && unit.number !== null ? `${unit.layer.name}, ${unit.name}` : "",
        picture.what, `score ${sayScore(picture.score)}`, ...unit.faults, `${say(at + 1)} of ${say(list.length)}`,
      ];
      caption.lastChild.textContent = told.filter(Boolean).join(" · ");
      size();
      writeState({ show: picture.file });
      // The next one is there when it is asked for.
      if (list.length > 1) new Image().src = list[(at + 1) % list.length].url;
    };
    const go = (place) => {
      at = (place + list.length) % list.length;
      show();
    };
    // All of it before the dialog is gone: a browser says "close" some time later, and an address that is written then
    // calls off a way to another page that a key has taken meanwhile.
    const close = () => {
      if (!isShown) return;
      isShown = false;
      stop();
      writeState({ show: "" });
      dialog.close();
      image.removeAttribute("src");
      if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
      // The body takes no focus: without this the next key would come to what is hidden.
      dialog.blur();
      before?.focus();
    };
    const full = () => {
      if (document.fullscreenElement) return document.exitFullscreen().catch(() => {});
      // Of the whole page, for a dialog itself may not.
      return root.requestFullscreen?.().catch(() => {});
    };
    const make = () => {
      image = h("img", { alt: "" });
      link = h("a", { href: "#" });
      caption = h("p", { class: "shown-caption", "aria-live": "polite" }, link, " ", h("span"));
      const button = (name, act) => h("button", { type: "button", on: { click: act } }, name);
      play = button("Play", () => (isPlaying() ? stop() : start()));
      const smooth = button("Smooth", () => {});
      dialog = h("dialog", { class: "viewer", "aria-label": "Slide show", tabindex: -1 },
        h("div", { class: "stage" }, image),
        h("div", { class: "bar" }, caption,
          h("p", { class: "buttons" }, button("← Before", () => go(at - 1)), play, button("After →", () => go(at + 1)), smooth,
            root.requestFullscreen ? button("Whole screen", full) : null, button("Close", close))));
      startSmooth(smooth);
      document.body.append(dialog);
      // A phone's way back, or a screen reader's.
      dialog.addEventListener("cancel", (event) => {
        event.preventDefault();
        close();
      });
      dialog.addEventListener("close", close);
      dialog.addEventListener("keydown", (event) => {
        if (!isShown || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
        const onButton = event.target instanceof Element && event.target.closest("button, a") !== null;
        const ways = {
          ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Home: () => go(0), End: () => go(list.length - 1),
          f: full, p: () => play.click(), Escape: close, " ": onButton ? undefined : () => play.click(),
        };
        if (!ways[event.key]) return;
        event.preventDefault();
        ways[event.key]();
      });
      addEventListener("resize", () => { if (dialog.open) size(); });
    };
    return {
      open: (pictures, file, playing) => {
        if (pictures.length === 0) return;
        if (!dialog) make();
        list = pictures;
        at = Math.max(0, list.findIndex((picture) => picture.file === file));
        before = document.activeElement;
        if (!dialog.open) dialog.showModal();
        isShown = true;
        dialog.focus();
        show();
        if (playing) start();
      },
    };
  })();

  const startRandom = () => {
    const button = byId("random");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await load();
      const others = leads(everyUnit()).filter((picture) => !isHere(picture.unit.page));
      const one = others[Math.floor(Math.random() * others.length)];
      if (one) location.assign(one.unit.page);
    });
  };

  // A slide show of what the page shows: ``shown`` gives its pictures in their order, ``here`` the page's own.
  const startSlides = (shown, here = () => "") => {
    const begin = async (file, playing) => {
      await load();
      viewer.open(shown(), file ?? here(), playing);
    };
    byId("slides").addEventListener("click", () => begin(null, true));
    byId("full")?.addEventListener("click", () => begin(null, false));
    const before = readState().get("show");
    if (before) load().then(() => { if (shown().some((picture) => picture.file === before)) begin(before, false); });
  };

  // The front page
  const FEW = 96;
  const startSearch = () => {
    const input = byId("search");
    if (!input) return;
    const [found, sections, more] = ["found", "sections", "found-more"].map(byId);
    let units = [];
    let drawn = 0;
    const tile = (unit) => {
      const picture = unit.pictures[0];
      const name = unit.label || unit.layer.objectives ? "" : `${unit.layer.name} `;
      return h("li", {}, h("a", { href: unit.page },
        picture
          ? h("img", { src: picture.thumbnail, width: picture.width, height: picture.height, alt: "", loading: "lazy", decoding: "async", class: Math.max(picture.width, picture.height) < 64 ? "coarse" : null })
          : h("span", { class: "blank" }),
        h("span", { class: "line" }, h("span", { class: "number" }, name && h("span", { class: "layer-name" }, name), unit.short)),
        ...unit.faults.map((words) => h("span", { class: "mark verdict" }, words))));
    };
    const draw = (until) => {
      const list = byId("found-units");
      list.append(...units.slice(drawn, until).map(tile));
      drawn = Math.min(until, units.length);
      more.hidden = drawn >= units.length;
    };
    const apply = () => {
      const isAsked = input.value.trim() !== "";
      found.hidden = !isAsked;
      sections.hidden = isAsked;
      if (!isAsked) return;
      const { units: all, layers } = search(input.value);
      units = all;
      drawn = 0;
      byId("found-units").replaceChildren();
      draw(FEW);
      const list = byId("found-layers");
      list.replaceChildren(...layers.slice(0, 24).map((layer) => h("li", {}, h("a", { href: layer.page }, layer.name))));
      list.hidden = layers.length === 0;
      const told = [layers.length ? count(layers.length, "layer") : "", count(units.length, "unit")];
      byId("found-count").textContent = units.length + layers.length ? told.filter(Boolean).join(", ") : "Nothing found.";
    };
    const change = () => {
      apply();
      writeState({ q: input.value.trim() });
    };
    const ready = load();
    input.addEventListener("input", () => ready.then(change));
    input.addEventListener("keydown", (event) => {
      const first = byId("found-units").querySelector("a") ?? byId("found-layers").querySelector("a");
      if (found.hidden || !first) return;
      if (event.key === "ArrowDown") { event.preventDefault(); first.focus(); }
      if (event.key === "Enter") { event.preventDefault(); first.click(); }
    });
    more.addEventListener("click", () => {
      const next = drawn;
      draw(drawn + 4 * FEW);
      byId("found-units").children[next]?.querySelector("a").focus();
    });
    const folds = Array.from(document.querySelectorAll("details.section"));
    const follow = () => {
      const state = readState();
      input.value = state.get("q") ?? "";
      const closed = (state.get("fold") ?? "").split(",");
      for (const fold of folds) {
        const open = !closed.includes(fold.id.replace("section-", ""));
        if (fold.open !== open && location.hash.includes("=")) fold.open = open;
      }
      const asked = location.hash === "#search" ? input : location.hash.length > 1 && !location.hash.includes("=") ? byId(location.hash.slice(1)) : null;
      if (asked === input) input.focus();
      else if (asked?.matches("details.section")) asked.open = true;
      return ready.then(apply);
    };
    for (const fold of folds) {
      fold.addEventListener("toggle", () => {
        const closed = folds.filter((one) => !one.open).map((one) => one.id.replace("section-", "")).join(",");
        // Every section says so once when the page is read: that changes nothing.
        if (closed !== (readState().get("fold") ?? "")) writeState({ fold: closed });
      });
    }
    addEventListener("hashchange", follow);
    input.closest(".finder").hidden = false;
    follow();
    startSlides(() => leads(input.value.trim() === "" ? everyUnit() : units));
  };

  // A layer's page
  const startCards = () => {
    const list = byId("cards");
    if (!list) return;
    const [filter, sort, shown] = ["filter", "sort", "shown"].map(byId);
    const nothing = byId("nothing");
    const cards = Array.from(list.children, (item) => {
      const { place, order, unit, score, find } = item.dataset;
      return {
        item,
        place: Number(place),
        order: Number(order),
        number: unit === undefined ? null : Number(unit),
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
    let sorted = "place";
    const apply = () => {
      const matches = readQuery(filter.value);
      let kept = 0;
      for (const card of cards) {
        const fits = matches(card);
        if (card.item.hidden === fits) card.item.hidden = !fits;
        kept += fits;
      }
      if (sort.value !== sorted) {
        sorted = sort.value;
        cards.sort(ways[sorted]);
        list.append(...cards.map((card) => card.item));
      }
      const all = count(cards.length, shown.dataset.noun);
      shown.textContent = kept === cards.length ? all : `${say(kept)} of ${all}`;
      nothing.hidden = kept > 0;
    };
    const change = () => {
      apply();
      writeState({ q: filter.value.trim(), sort: sort.value === "place" ? "" : sort.value });
    };
    const follow = () => {
      const state = readState();
      filter.value = state.get("q") ?? "";
      sort.value = state.get("sort") in ways ? state.get("sort") : "place";
      apply();
    };
    filter.addEventListener("input", change);
    sort.addEventListener("change", change);
    addEventListener("hashchange", follow);
    follow();
    filter.closest(".tools").hidden = false;
    startSlides(() => {
      const layer = galleries.flatMap((gallery) => gallery.layers).find((one) => isHere(one.page));
      return leads(cards.filter((card) => !card.item.hidden).map((card) => layer?.units[card.place]).filter(Boolean));
    });
  };

  // A unit's page
  const ASIDE = 448;  // What the column beside the picture needs
  const startLarge = () => {
    const image = byId("large");
    if (!image) return;
    const { width, height } = image.dataset;
    const size = () => {
      if (!width) return;
      const whole = byId("figure").parentElement.clientWidth;
      const room = matchMedia("(min-width: 981px)").matches ? whole - ASIDE : whole;
      // Tall enough to be seen, and not so tall that it and its name leave the screen.
      fit(image, Number(width), Number(height), room, Math.max(256, innerHeight - 190));
    };
    size();
    addEventListener("resize", size);
    startSmooth(byId("smooth"));
    const layerHere = () => galleries.flatMap((gallery) => gallery.layers)
      .find((layer) => layer.units.some((unit) => isHere(unit.page)));
    startSlides(
      () => leads(layerHere()?.units ?? []),
      () => layerHere()?.units.find((unit) => isHere(unit.page)).pictures[0].file,
    );
    image.closest("a").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      byId("full").click();
    });
    byId("save-figure").addEventListener("click", () => saveFigure(image, byId("caption").textContent));
  };

  // A video or volume: one frame at a time, cut out of the sheet of all, stepped through or played.
  const FRAMES_A_SECOND = 8;
  const startFilm = () => {
    const sheet = document.querySelector("img[data-frames]");
    if (!sheet) return;
    const [frames, high, wide] = ["frames", "frameHeight", "frameWidth"].map((name) => Number(sheet.dataset[name]));
    const columns = Math.ceil(Math.sqrt(frames));
    const rows = Math.ceil(frames / columns);
    const percent = (value) => `${(100 * value).toFixed(4)}%`;
    const image = h("img", { src: sheet.src, alt: "", class: Math.max(high, wide) < 512 ? "coarse" : null });
    Object.assign(image.style, { width: percent((columns * (wide + 1) - 1) / wide), height: percent((rows * (high + 1) - 1) / high) });
    const box = h("div", { class: "frame", role: "img" }, image);
    Object.assign(box.style, { width: `${wide * Math.max(1, Math.floor(448 / Math.max(high, wide)))}px`, aspectRatio: `${wide} / ${high}` });
    const told = h("output", { for: "frame" });
    const range = h("input", { type: "range", id: "frame", min: 1, max: frames, value: 1, "aria-label": "Frame" });
    const show = () => {
      const place = Number(range.value) - 1;
      Object.assign(image.style, {
        left: percent(-(place % columns) * (wide + 1) / wide), top: percent(-Math.floor(place / columns) * (high + 1) / high),
      });
      told.textContent = `${place + 1} of ${frames}`;
      box.setAttribute("aria-label", `Frame ${place + 1} of ${frames}`);
    };
    let timer;
    const stop = () => {
      clearInterval(timer);
      timer = undefined;
      play.textContent = "Play";
    };
    const play = h("button", { type: "button", on: { click: () => {
      if (timer !== undefined) { stop(); return; }
      play.textContent = "Pause";
      timer = setInterval(() => {
        range.value = String(Number(range.value) % frames + 1);
        show();
      }, 1000 / FRAMES_A_SECOND);
    } } }, "Play");
    range.addEventListener("input", () => { stop(); show(); });
    show();
    byId("figure").prepend(h("div", { class: "film" }, box, h("div", { class: "film-controls" }, play, range, told)));
  };

  const offer = (content, name) => {
    const link = h("a", { href: URL.createObjectURL(content), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  // A figure: the picture, grown by a whole number, and below it the caption.
  const saveFigure = (image, caption) => {
    const told = byId("told");
    if (image.naturalWidth === 0) return;
    const times = Math.max(1, Math.ceil(720 / image.naturalWidth));
    const [wide, high] = [image.naturalWidth * times, image.naturalHeight * times];
    const canvas = h("canvas");
    const pen = canvas.getContext("2d");
    const font = () => { pen.font = `${LINE * 0.72}px system-ui, sans-serif`; };
    const LINE = 26;
    font();
    const lines = [""];
    for (const word of caption.split(/\s+/)) {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (pen.measureText(longer).width <= wide - 2 || !lines.at(-1)) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    canvas.width = wide;
    canvas.height = high + 12 + lines.length * LINE;
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = root.dataset.pixels === "smooth";
    pen.drawImage(image, 0, 0, wide, high);
    pen.fillStyle = "#1b1c1e";
    font();
    lines.forEach((line, at) => pen.fillText(line, 0, high + 12 + (at + 0.75) * LINE, wide));
    const path = decodeURIComponent(new URL(image.src).pathname).split("/").slice(-2).join("-");
    try {
      canvas.toBlob((content) => {
        offer(content, `figure-${path}`);
        told.textContent = `Saved as figure-${path}.`;
      });
    } catch {
      // A browser reads no picture of a page from disk; it prints it all the same.
      told.textContent = "From disk a browser may not copy a picture, but it prints the figure: choose “Save as PDF”.";
      root.classList.add("figure-only");
      addEventListener("afterprint", () => root.classList.remove("figure-only"), { once: true });
      print();
    }
  };

  const startCopies = () => {
    for (const button of document.querySelectorAll("button.copy")) {
      const element = byId(button.dataset.copy);
      const name = button.firstChild.data;
      let timer;
      const told = (text) => {
        button.firstChild.data = text;
        clearTimeout(timer);
        timer = setTimeout(() => { button.firstChild.data = name; }, 2000);
      };
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(element.textContent);
          told("Copied");
        } catch {
          getSelection().selectAllChildren(element);
          told(document.execCommand("copy") ? "Copied" : "Selected");
        }
      });
      button.hidden = false;
    }
    for (const button of document.querySelectorAll("button[data-save]")) {
      button.addEventListener("click", () => {
        offer(new Blob([byId(button.dataset.save).textContent], { type: "application/toml" }), button.dataset.name);
      });
    }
    for (const buttons of document.querySelectorAll("main p.buttons[hidden]")) buttons.hidden = false;
  };

  // The page that compares two pictures
  const flatten = (value, path, into) => {
    if (value !== null && typeof value === "object") {
      for (const [name, item] of Object.entries(value)) {
        const called = Array.isArray(value) && item?.name ? item.name : name;
        flatten(item, path ? `${path}.${called}` : called, into);
      }
    } else if (value !== null) {
      into.set(path, String(value));
    }
    return into;
  };
  const startCompare = async () => {
    const box = byId("compare");
    if (!box) return;
    const told = byId("compare-told");
    byId("no-script").hidden = true;
    box.hidden = false;
    try {
      const sources = Array.from(byId("sources").children);
      await load(sources.map((source) => new URL(source.dataset.source, location.href).href));
      // Of two galleries with one title, the page tells them apart.
      galleries.forEach((gallery, place) => { gallery.title = sources[place].textContent; });
    } catch (error) {
      told.textContent = `Not here: ${error.message}. Write the gallery’s pages anew.`;
      return;
    }
    const name = (picture) => (galleries.length > 1 ? `${picture.unit.layer.gallery.place}/` : "") + picture.file;
    const all = new Map(everyUnit().flatMap((unit) => unit.pictures).map((picture) => [name(picture), picture]));
    if (all.size === 0) {
      told.textContent = "There are no pictures here.";
      return;
    }
    const panes = ["a", "b"].map((side) => {
      const choose = (label) => {
        const select = h("select", { id: `${side}-${plain(label)}` });
        return [select, h("p", {}, h("label", { for: select.id }, label), select)];
      };
      const [gallery, galleryLine] = choose("Gallery");
      const [layer, layerLine] = choose("Layer");
      const [unit, unitLine] = choose("Unit");
      const [picture, pictureLine] = choose("Picture");
      galleryLine.hidden = galleries.length < 2;
      const image = h("img", { alt: "" });
      const link = h("a", { href: "#" }, image);
      const caption = h("figcaption");
      const element = h("section", { class: "pane", "aria-label": side === "a" ? "Left" : "Right" },
        h("div", { class: "choices" }, galleryLine, layerLine, unitLine, pictureLine), h("figure", {}, link, caption));
      return { side, gallery, layer, unit, picture, pictureLine, image, link, caption, element, shown: null };
    });
    box.querySelector(".panes").append(...panes.map((pane) => pane.element));
    const fill = (select, items, chosen, text) => {
      select.replaceChildren(...items.map((item, place) => {
        const option = h("option", { value: place }, text(item));
        option.selected = item === chosen;
        return option;
      }));
    };
    const withPictures = (layer) => layer.units.filter((unit) => unit.pictures.length > 0);
    const layersOf = (gallery) => gallery.layers.filter((layer) => withPictures(layer).length > 0);
    const filled = galleries.filter((gallery) => layersOf(gallery).length > 0);
    const show = (pane, picture) => {
      const { unit } = picture;
      const { layer } = unit;
      pane.shown = picture;
      fill(pane.gallery, filled, layer.gallery, (one) => one.title);
      fill(pane.layer, layersOf(layer.gallery), layer, (one) => one.name);
      fill(pane.unit, withPictures(layer), unit, (one) => (one.label ? `${one.number} ${one.short}` : one.short));
      fill(pane.picture, unit.pictures, picture, (one) => one.what || "first");
      pane.pictureLine.hidden = unit.pictures.length < 2;
      pane.image.src = picture.url;
      pane.image.alt = `${titleOf(picture)}: picture${picture.what ? `, ${picture.what}` : ""}`;
      pane.link.href = unit.page;
      pane.caption.textContent = `${titleOf(picture)}, score ${sayScore(picture.score)}`;
    };
    const size = () => {
      for (const { image, shown, element } of panes) {
        if (shown.width && shown.height) fit(image, shown.width, shown.height, element.clientWidth, Math.max(256, innerHeight - 260));
      }
    };
    const rows = () => {
      const [a, b] = panes.map((pane) => pane.shown);
      const facts = (picture) => new Map([
        ["network", picture.unit.layer.gallery.model],
        ["gallery", picture.unit.layer.gallery.title],
        ["layer", picture.unit.layer.name],
        ["unit", picture.unit.label ? `${picture.unit.number}, ${picture.unit.label}` : picture.unit.name],
        ["picture", picture.what || "first"],
        ["score", sayScore(picture.score)],
        ["canvas", `${picture.height} × ${picture.width} px`],
        ["verdicts", [...picture.unit.faults, ...picture.unit.praise].join("; ") || "–"],
        ["recipe", picture.recipe.name || picture.recipe.id || "–"],
        ...flatten(picture.recipe.fields, "", new Map()),
      ]);
      const [left, right] = [facts(a), facts(b)];
      const fields = [...new Set([...left.keys(), ...right.keys()])].filter((field) => left.get(field) !== right.get(field));
      document.querySelector(".differs tbody").replaceChildren(...fields.map((field) =>
        h("tr", {}, h("th", { scope: "row" }, field), h("td", {}, left.get(field) ?? "–"), h("td", {}, right.get(field) ?? "–"))));
      document.querySelector(".differs").hidden = fields.length === 0;
      told.textContent = fields.length === 0 ? "Nothing: it is the same picture." : "";
    };
    const together = byId("together");
    // The same unit where the other side has it: of the same layer and number, by the same recipe if it can be.
    const twin = (picture, pane) => {
      const gallery = pane.shown.unit.layer.gallery;
      const layer = gallery.layers.find((one) => one.name === picture.unit.layer.name) ?? pane.shown.unit.layer;
      const unit = withPictures(layer).find((one) => one.number === picture.unit.number && one.number !== null);
      return unit?.pictures.find((one) => one.what === pane.shown.what) ?? unit?.pictures[0];
    };
    const settle = () => {
      size();
      rows();
      writeState({ a: name(panes[0].shown), b: name(panes[1].shown), together: together.checked ? "1" : "" });
    };
    const change = (pane, picture) => {
      show(pane, picture);
      const other = panes.find((one) => one !== pane);
      const same = together.checked ? twin(picture, other) : undefined;
      if (same) show(other, same);
      settle();
    };
    for (const pane of panes) {
      const first = (units) => units[0].pictures[0];
      pane.gallery.addEventListener("change", () => {
        const gallery = filled[pane.gallery.value];
        const layer = layersOf(gallery).find((one) => one.name === pane.shown.unit.layer.name) ?? layersOf(gallery)[0];
        const same = withPictures(layer).find((unit) => unit.number === pane.shown.unit.number);
        change(pane, (same ?? withPictures(layer)[0]).pictures[0]);
      });
      pane.layer.addEventListener("change", () => {
        change(pane, first(withPictures(layersOf(pane.shown.unit.layer.gallery)[pane.layer.value])));
      });
      pane.unit.addEventListener("change", () => change(pane, withPictures(pane.shown.unit.layer)[pane.unit.value].pictures[0]));
      pane.picture.addEventListener("change", () => change(pane, pane.shown.unit.pictures[pane.picture.value]));
    }
    const step = (by) => {
      for (const pane of together.checked ? panes.slice(0, 1) : panes) {
        const units = withPictures(pane.shown.unit.layer);
        const next = units[(units.indexOf(pane.shown.unit) + by + units.length) % units.length];
        show(pane, next.pictures.find((one) => one.what === pane.shown.what) ?? next.pictures[0]);
      }
      if (together.checked) {
        const same = twin(panes[0].shown, panes[1]);
        if (same) show(panes[1], same);
      }
      settle();
    };
    byId("back").addEventListener("click", () => step(-1));
    byId("on").addEventListener("click", () => step(1));
    byId("swap").addEventListener("click", () => {
      const [a, b] = panes.map((pane) => pane.shown);
      show(panes[0], b);
      show(panes[1], a);
      settle();
    });
    together.addEventListener("change", () => change(panes[0], panes[0].shown));
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (event.target instanceof Element && event.target.closest("select, input:not([type=checkbox])")) return;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        event.preventDefault();
        step(event.key === "ArrowLeft" ? -1 : 1);
      }
    });
    addEventListener("resize", size);
    const follow = () => {
      const state = readState();
      together.checked = state.has("together") || (galleries.length > 1 && !state.has("a"));
      const a = all.get(state.get("a")) ?? leads(filled[0].units)[0];
      show(panes[0], a);
      // By itself: another picture of the unit, else the unit after it, or the same one in the next gallery.
      const others = leads((filled[1] ?? a.unit.layer.gallery).units);
      const near = filled[1]
        ? others.find((one) => one.unit.layer.name === a.unit.layer.name && one.unit.number === a.unit.number)
        : a.unit.pictures.find((one) => one !== a) ?? others[(others.indexOf(a) + 1) % others.length];
      show(panes[1], all.get(state.get("b")) ?? near ?? others[0]);
      settle();
    };
    addEventListener("hashchange", follow);
    follow();
  };

  const startKeys = () => {
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const at = event.target;
      if (at instanceof Element && at.closest("input, textarea, select, [contenteditable]")) return;
      if (document.querySelector("dialog[open]")) return;
      const click = (id) => () => byId(id)?.click();
      const ways = {
        "/": () => {
          const input = byId("search") ?? byId("filter");
          if (input) input.focus();
          else document.querySelector("[data-key=search]")?.click();
        },
        r: click("random"), s: click("slides"), f: click("full"), c: click("compare-with"),
      };
      if (!Object.hasOwn(ways, event.key)) return;
      event.preventDefault();
      ways[event.key]();
    });
    // The address keeps what the page shows: to skip is no place in it.
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      byId("content").focus();
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    startKeys();
    startRandom();
    startSearch();
    startCards();
    startLarge();
    startFilm();
    startCopies();
    startCompare();
  });
})();
