// The explorer: asks for one picture at a time, shows it as it grows, and lets go of it when another is wanted.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const [network, layer, unit, told, bar] = ["network", "layer", "unit", "told", "bar"].map($);
  const SLOT = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");
  const KNOBS = [["size", "size"], ["steps", "steps"], ["seed", "seed"], ["rate", "learning_rate"], ["contrast", "contrast"], ["colorfulness", "colorfulness"]];
  let layers = [];
  let growing = null; // What cancels the picture under way
  let searching = null; // What cancels the search under way
  let shown = null; // The finished picture that is shown
  let drawn = null; // What was typed for it, and the unit that it is of
  let photograph = null;
  let asked = 0; // How often places were asked for: only the last answer counts
  let opened = 0; // How often a photograph was chosen, or another network: likewise

  const make = (name, fields = {}, ...children) => {
    const made = Object.assign(document.createElement(name), fields);
    made.append(...children);
    return made;
  };
  const say = (text, wrong = false, at = told) => {
    at.textContent = text;
    at.classList.toggle("wrong", wrong);
  };
  const gone = (error) => (error.name === "AbortError" ? error : new Error("featvis serve does not answer; it was ended"));
  const ask = async (path, options = {}) => {
    let answer;
    try { answer = await fetch(path, options); } catch (error) { throw gone(error); }
    if (answer.ok) return answer;
    const text = await answer.text();
    let reason = text.trim();
    try { reason = JSON.parse(text).error; } catch { /* a plain line */ }
    throw new Error(reason || `the server said ${answer.status}`);
  };
  const json = async (path, options) => (await ask(path, options)).json();
  const number = (value) => (Math.abs(value) >= 1000 || value === 0 ? value.toFixed(0) : value.toPrecision(4));
  const current = () => layers.find((one) => one.name === layer.value);

  // Choices

  const showUnits = () => {
    const one = current();
    if (!one) return;
    showTone();
    $("units").textContent = `, 0 to ${one.units - 1}`;
    $("classes").replaceChildren(...one.labels.map((label, place) => make("option", { value: String(place), label })));
    if (!/^\d+$/.test(unit.value.trim()) || Number(unit.value) >= one.units) {
      if (!one.labels.length || /^\d+$/.test(unit.value.trim())) unit.value = "0";
    }
  };
  const loadLayers = async () => {
    say(`Loading ${network.value} …`);
    const name = network.value;
    layers = []; // Those of another network are none of this one's
    layer.replaceChildren();
    try {
      const found = await json(`/api/layers?network=${encodeURIComponent(name)}`);
      if (name !== network.value) return;
      layers = found;
    } catch (error) {
      say(error.message, true);
      return;
    }
    layer.replaceChildren(...layers.map((one) => make("option", { value: one.name, textContent: `${one.name} (${one.units})` })));
    const maps = layers.filter((one) => one.map);
    const blocks = maps.filter((one) => /^\w+\.\d+$/.test(one.name));
    const middle = blocks.length > 2 ? blocks : maps;
    layer.value = (middle[Math.floor(middle.length / 2)] ?? layers[0])?.name ?? "";
    showUnits();
    say("Choose a layer and a unit, and draw.");
  };

  // Drawing

  const request = () => {
    const body = { network: network.value, target: `${layer.value}:${unit.value.trim()}`, slot: SLOT };
    if ($("recipe").value) body.recipe = $("recipe").value;
    for (const [id, name] of KNOBS) {
      if ($(id).value.trim() !== "" && !$(id).disabled) body[name] = Number($(id).value);
    }
    return body;
  };
  // Which recipe limits contrast and colour; without a name, the layer of classes has the portrait's.
  const showTone = () => {
    const chosen = $("recipe").value ? $("recipe").selectedOptions[0] : [...$("recipe").options].find((one) => one.value === "portrait");
    const applies = $("recipe").value !== "" || !(current()?.map ?? true);
    for (const name of ["contrast", "colorfulness"]) {
      const limit = applies ? chosen?.dataset[name] : undefined;
      $(name).disabled = limit === undefined;
      $(name).placeholder = limit === undefined ? "no limit" : `recipe’s, ${limit}`;
    }
  };
  const readEvents = async (answer, take) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      let value, done;
      try { ({ value, done } = await reader.read()); } catch (error) { throw gone(error); }
      if (done) return;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const [kind, data] = part.split("\n");
        take(kind.slice(7), JSON.parse(data.slice(6)));
      }
    }
  };
  const others = (one) => [["learning_rate", "learning rate"], ["contrast", "contrast at most"], ["colorfulness", "saturation at most"]]
    .filter(([name]) => one.asked[name] !== null).map(([name, words]) => `, ${words} ${one.asked[name]}`).join("");
  const caption = (one) => {
    const name = one.label ? `${one.target}, ${one.label}` : one.target;
    const facts = `score ${number(one.score)}, ${number(one.start_score)} at the start; recipe ${one.recipe}, ${one.steps} steps, seed ${one.seed}, ${one.width}×${one.height}${others(one)}, ${one.seconds} s`;
    const lines = [make("b", { textContent: name }), make("br"), facts];
    if (one.reason) lines.push(make("br"), make("span", { className: "mark", textContent: one.reason }));
    lines.push(make("br"), make("code", { textContent: one.command }));
    return make("figcaption", {}, ...lines);
  };
  const picture = (one) => make("img", { src: `/api/pictures/${one.id}.png`, alt: `${one.target}, score ${number(one.score)}` });
  const settle = (isGrowing) => {
    $("stop").disabled = !isGrowing;
    $("pin").disabled = $("hold").disabled = isGrowing || !shown;
    if (!isGrowing) growing = null;
  };
  const draw = async () => {
    if (!$("ask").reportValidity() || !layer.value) return;
    growing?.abort();
    searching?.abort();
    const own = growing = new AbortController();
    const body = request();
    shown = null;
    settle(true);
    bar.value = 0;
    say(`${body.target}: asked for`);
    let image = null;
    const take = (kind, data) => {
      if (growing !== own) return;
      if (kind === "place") {
        say(data.place ? `${body.target}: ${data.place} before it in the queue` : `${body.target}: begins`);
      } else if (kind === "step") {
        if (!image) {
          image = make("img", { alt: `${body.target} under way`, id: "growing" });
          $("now").replaceChildren(image);
        }
        image.src = data.image;
        image.dataset.step = data.step;
        bar.value = data.step / data.steps;
        if (data.step === 1) say(`${body.target}: grows, ${data.steps} steps`);
      } else if (kind === "done") {
        shown = data;
        drawn = { layer: data.layer, unit: data.unit, text: body.target.slice(data.layer.length + 1) };
        bar.value = 1;
        $("now").replaceChildren(picture(data), caption(data));
        say(`${data.target}: done, score ${number(data.score)}`);
        searchFor(data);
      } else {
        say(kind === "cancelled" ? `${body.target}: stopped` : data.error, kind === "failed");
      }
    };
    try {
      const headers = { "Content-Type": "application/json" };
      const answer = await ask("/api/pictures", { method: "POST", headers, body: JSON.stringify(body), signal: own.signal });
      await readEvents(answer, take);
    } catch (error) {
      if (growing === own && error.name !== "AbortError") say(error.message, true);
    }
    if (growing === own) settle(false);
  };
  const stop = () => {
    if (!growing) return;
    growing.abort();
    settle(false);
    say("Stopped.");
  };
  // A class may be named: by one of its names, or in words that the drawn picture answered.
  const placeOf = (text, one) => {
    if (/^\d+$/.test(text)) return Number(text);
    if (drawn && drawn.layer === one.name && drawn.text === text) return drawn.unit;
    const name = text.toLowerCase();
    return Math.max(0, one.labels.findIndex((label) => label.toLowerCase().split(",").some((part) => part.trim() === name)));
  };
  const turn = (by) => {
    const one = current();
    if (!one) return;
    const place = placeOf(unit.value.trim(), one);
    unit.value = String((place + by + one.units) % one.units);
    draw();
  };

  // What of a folder of photographs a unit responds to most: searched a share at a time, as long as it is wanted

  const showPatches = (one, found) => {
    const patches = found.patches.map((patch) => {
      const value = number(patch.value);
      const image = make("img", { src: patch.image, alt: `part of ${patch.name}, value ${value}` });
      const button = make("button", { type: "button", title: `The places of ${patch.name}` }, image);
      button.addEventListener("click", () => open(`/api/folder/${patch.number}?network=${encodeURIComponent(one.network)}`));
      const lines = [make("b", { textContent: value }), make("span", { className: "from", textContent: patch.name })];
      if (patch.position) lines.push(make("span", { className: "from", textContent: `row ${patch.position[0]}, column ${patch.position[1]}` }));
      return make("li", {}, make("figure", {}, button, make("figcaption", {}, ...lines)));
    });
    const held = $("found").contains(document.activeElement) ? [...$("found").children].findIndex((item) => item.contains(document.activeElement)) : -1;
    $("found").replaceChildren(...patches);
    if (held >= 0) patches[held]?.querySelector("button").focus();
  };
  const searchFor = async (one) => {
    if (!$("found") || one.unit === null) return;
    searching?.abort();
    const own = searching = new AbortController();
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ network: one.network, layer: one.layer, unit: one.unit, slot: `${SLOT}-patches` });
    const told = (text, wrong) => say(text, wrong, $("searched"));
    const name = `${one.layer}:${one.unit}`;
    const settleSearch = (isOn, canGoOn) => {
      $("search-bar").hidden = !isOn;
      $("search-buttons").hidden = !isOn && !canGoOn;
      $("search").textContent = isOn ? "Stop searching" : "Go on searching";
    };
    $("search-bar").value = 0;
    $("search").onclick = () => {
      if (searching === own) {
        own.abort();
        searching = null;
        settleSearch(false, true);
        told(`${name}: stopped; these are the best of those that were searched.`);
      } else searchFor(one);
    };
    settleSearch(true, true);
    told(`${name}: searching`);
    $("found").replaceChildren();
    try {
      for (;;) {
        const found = await json("/api/patches", { method: "POST", headers, body, signal: own.signal });
        if (searching !== own) return;
        showPatches(one, found);
        $("search-bar").value = found.read / found.total;
        if (found.over) {
          searching = null;
          settleSearch(false, false);
          told(`${name}: the best of ${found.images.toLocaleString("en")} photographs; choose one for its places.`);
          return;
        }
        told(`${name}: ${found.read.toLocaleString("en")} of ${found.total.toLocaleString("en")} files searched`);
      }
    } catch (error) {
      if (searching !== own || error.name === "AbortError") return;
      searching = null;
      settleSearch(false, false);
      told(error.message, true);
    }
  };

  // The photograph

  const showUnitsOf = (found, place) => {
    $("place-title").hidden = false;
    const row = Math.floor(place / found.columns), column = place % found.columns;
    $("place-title").textContent = `${found.layer}, row ${row}, column ${column}: units that stand out`;
    const entries = found.places[place].map((one) => {
      const button = make("button", { type: "button" }, make("b", { textContent: `unit ${one.unit} ` }),
        make("span", { textContent: `activation ${number(one.activation)}, ${one.above} deviations above its mean` }));
      button.addEventListener("click", () => {
        layer.value = found.layer;
        showUnits();
        unit.value = String(one.unit);
        draw();
        $("now-title").scrollIntoView({ block: "nearest" });
      });
      return make("li", {}, button);
    });
    $("place-units").replaceChildren(...entries);
  };
  const showPlaces = (found) => {
    const grid = $("places");
    grid.style.gridTemplateColumns = `repeat(${found.columns}, 1fr)`;
    grid.style.gridTemplateRows = `repeat(${found.rows}, 1fr)`;
    const buttons = found.places.map((units, place) => {
      const row = Math.floor(place / found.columns), column = place % found.columns;
      const title = `row ${row}, column ${column}: unit ${units[0].unit}`;
      const button = make("button", { type: "button", title, tabIndex: place ? -1 : 0, ariaLabel: title, ariaPressed: "false" });
      button.addEventListener("click", () => {
        for (const other of buttons) { other.ariaPressed = "false"; other.tabIndex = -1; }
        button.ariaPressed = "true";
        button.tabIndex = 0;
        showUnitsOf(found, place);
      });
      button.addEventListener("keydown", (event) => {
        const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        if (!move) return;
        event.preventDefault();
        const to = [row + move[0], column + move[1]];
        if (to[0] < 0 || to[1] < 0 || to[0] >= found.rows || to[1] >= found.columns) return;
        const other = buttons[to[0] * found.columns + to[1]];
        button.tabIndex = -1;
        other.tabIndex = 0;
        other.focus();
      });
      return button;
    });
    grid.replaceChildren(...buttons);
    say(`${found.layer}: ${found.rows} by ${found.columns} places; click one for its units.`, false, $("seen"));
  };
  const loadPlaces = async () => {
    if (!photograph) return;
    const own = ++asked;
    try {
      const found = await json(`/api/photographs/${photograph}?layer=${encodeURIComponent(layer.value)}`);
      if (own === asked) showPlaces(found);
    } catch (error) {
      if (own !== asked) return;
      $("places").replaceChildren();
      say(error.message, true, $("seen"));
    }
  };
  const send = (file) => file && open(`/api/photographs?network=${encodeURIComponent(network.value)}`, file);
  const open = async (path, body) => {
    say("Reading …", false, $("seen"));
    const own = ++opened;
    try {
      const read = await json(path, { method: "POST", body });
      if (own !== opened) return;
      photograph = read.id;
      $("photo").src = read.image;
      $("canvas").hidden = false;
      $("place-units").replaceChildren();
      $("place-title").hidden = true;
      await loadPlaces();
      if (!body && own === opened) $("photograph").scrollIntoView({ block: "start" });
    } catch (error) {
      if (own === opened) say(error.message, true, $("seen"));
    }
  };

  // The board

  const showBoard = (pins) => {
    $("board-empty").hidden = pins.length > 0;
    $("exports").hidden = pins.length === 0;
    $("pins").replaceChildren(...pins.map((one) => {
      const off = make("button", { type: "button", textContent: "Take off", ariaLabel: `Take off ${one.target}` });
      off.addEventListener("click", () => change("DELETE", one.id));
      const line = make("span", { className: "line" }, make("span", { className: "number", textContent: one.target }), off);
      return make("li", {}, picture(one), line, make("span", { className: "label", textContent: one.label || `recipe ${one.recipe}` }));
    }));
  };
  const change = async (method, id) => {
    try { showBoard(await json(`/api/board/${id}`, { method })); } catch (error) { say(error.message, true); }
  };
  const pin = async () => {
    if (!shown) return;
    const one = shown;
    await change("PUT", one.id);
    say(`${one.target}: pinned`);
  };
  const hold = () => {
    if (!shown) return;
    const one = shown;
    $("held").replaceChildren(picture(one), caption(one));
    $("back").hidden = false;
    $("back").onclick = async () => {
      if (network.value !== one.network) {
        network.value = one.network;
        await changeNetwork();
      }
      layer.value = one.layer;
      showUnits();
      unit.value = one.target.slice(one.layer.length + 1);
      for (const [id, name] of KNOBS) $(id).value = one.asked[name] ?? "";
      $("recipe").value = one.asked.recipe;
      showTone();
      draw();
    };
  };

  // One box that finds

  featvisFinder.start({
    box: $("find"), list: $("finds"), told: $("finds-told"), layers: () => layers, current: () => layer.value,
    choose: (one) => {
      const isOther = layer.value !== one.layer;
      layer.value = one.layer;
      showUnits();
      if (one.unit !== null) unit.value = String(one.unit);
      draw();
      if (isOther) loadPlaces();
    },
  });

  // What is pressed and changed

  $("ask").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
  $("before").addEventListener("click", () => turn(-1));
  $("after").addEventListener("click", () => turn(1));
  $("stop").addEventListener("click", stop);
  $("pin").addEventListener("click", pin);
  $("hold").addEventListener("click", hold);
  const changeNetwork = async () => {
    stop();
    photograph = null;
    opened += 1;
    $("canvas").hidden = true;
    $("place-title").hidden = true;
    $("place-units").replaceChildren();
    await loadLayers();
  };
  network.addEventListener("change", changeNetwork);
  layer.addEventListener("change", () => { showUnits(); draw(); loadPlaces(); });
  $("recipe").addEventListener("change", showTone);
  for (const id of ["unit", "recipe", ...KNOBS.map(([id]) => id)]) $(id).addEventListener("change", draw);
  $("file").addEventListener("change", () => send($("file").files[0]));
  const drop = $("drop");
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    send(event.dataTransfer.files[0]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") {
      stop();
      if (searching) $("search").click();
      return;
    }
    if (event.target instanceof Element && event.target.closest("input, select, textarea")) return;
    const does = { "[": () => turn(-1), "]": () => turn(1), p: pin, h: hold, "/": () => $("find").focus() }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  loadLayers();
  json("/api/board").then(showBoard, (error) => say(error.message, true));
})();
