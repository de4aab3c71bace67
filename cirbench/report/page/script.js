"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  document.documentElement.classList.add("js");

  // Tabs: of the panels named by a group of radio buttons, show the chosen one.
  for (const group of all("[data-tabs]")) {
    const show = () => {
      for (const radio of all("input", group)) {
        document.getElementById(radio.value).hidden = !radio.checked;
      }
    };
    group.addEventListener("change", show);
    show();
  }

  // Tooltips: the titles of points, at once instead of after a second.
  const tip = document.getElementById("tip");
  for (const drawing of all("svg > title")) drawing.remove(); // its aria-label says the same
  for (const point of all(".pt")) {
    const title = point.querySelector("title");
    point.dataset.tip = title.textContent;
    title.remove();
  }
  let pointed = null;
  function tell() {
    tip.hidden = !pointed;
    if (!pointed) return;
    tip.textContent = pointed.dataset.tip;
    const box = pointed.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${clamp(left, 6, innerWidth - tip.offsetWidth - 6)}px`;
    tip.style.top = `${above > 6 ? above : box.bottom + 6}px`;
  }
  document.addEventListener("pointerover", (event) => {
    pointed = event.target.closest(".pt");
    tell();
  });
  document.documentElement.addEventListener("pointerleave", () => { pointed = null; tell(); });
  addEventListener("scroll", tell, { passive: true }); // the tip stays at its point

  for (const box of all(".case")) viewer(box);

  // One case: a state (zoom and place) shared by all its views, through CSS variables.
  function viewer(box) {
    const windows = all(".window", box);
    const stage = box.querySelector(".stage");
    const sources = new Map(all("[data-key]", box).map((one) => [one.dataset.key, one.firstChild]));
    const slide = box.querySelector(".slide");
    const zoomText = box.querySelector("output");
    let zoom = 1, x = 0, y = 0;

    function draw() {
      x = clamp(x, 1 - zoom, 0);
      y = clamp(y, 1 - zoom, 0);
      box.style.setProperty("--zoom", zoom);
      box.style.setProperty("--x", `${100 * x}%`);
      box.style.setProperty("--y", `${100 * y}%`);
      box.classList.toggle("zoomed", zoom > 1);
      const image = windows[1].firstChild;
      box.classList.toggle("pixels", zoom * image.clientWidth > 1.5 * image.naturalWidth);
      zoomText.textContent = `${zoom.toFixed(zoom < 10 ? 1 : 0)}×`;
    }

    // Zoom so that the place (u, v), parts of the view's width and height, stays where it is.
    function zoomTo(next, u = 0.5, v = 0.5) {
      next = clamp(next, 1, 24);
      x = u - ((u - x) / zoom) * next;
      y = v - ((v - y) / zoom) * next;
      zoom = next;
      draw();
    }

    function place(event, view) {
      const area = view.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    }

    for (const view of windows) {
      view.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
        event.preventDefault();
        zoomTo(zoom * Math.exp(-event.deltaY / 200), ...place(event, view));
      }, { passive: false });
      if (view === stage) continue;
      let last = null;
      view.addEventListener("dblclick", (event) => {
        zoomTo(event.shiftKey ? zoom / 2 : zoom * 2, ...place(event, view));
      });
      view.addEventListener("pointerdown", (event) => {
        if (zoom === 1 || event.button) return;
        last = place(event, view);
        view.setPointerCapture(event.pointerId);
      });
      view.addEventListener("pointermove", (event) => {
        if (!last) return;
        const now = place(event, view);
        x += now[0] - last[0];
        y += now[1] - last[1];
        last = now;
        draw();
      });
      for (const end of ["pointerup", "pointercancel"]) {
        view.addEventListener(end, () => { last = null; });
      }
      view.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const pan = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
        if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.5);
        else if (event.key === "-") zoomTo(zoom / 1.5);
        else if (event.key === "0") zoomTo(1);
        else if (pan[event.key] && zoom > 1) {
          x += 0.1 * pan[event.key][0];
          y += 0.1 * pan[event.key][1];
          draw();
        } else return;
        event.preventDefault();
      });
    }

    // The slider: a range input, also moved by dragging in its picture.
    const sides = ["left", "right"].map((side) => ({
      image: box.querySelector(`img.${side}`), choice: box.querySelector(`select.${side}`),
    }));
    function fill() {
      for (const { image, choice } of sides) {
        const source = sources.get(choice.value);
        image.src = source.src;
        image.alt = source.alt;
      }
      cut();
    }
    function cut() {
      box.style.setProperty("--cut", `${slide.value}%`);
      const [left, right] = sides.map(({ choice }) => choice.value);
      slide.setAttribute("aria-valuetext", `${left} ${slide.value} %, ${right} the rest`);
    }
    for (const { choice } of sides) choice.addEventListener("change", fill);
    slide.addEventListener("input", cut);
    let sliding = false;
    function follow(event) {
      slide.value = Math.round(100 * place(event, stage)[0]);
      cut();
    }
    stage.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      sliding = true;
      stage.setPointerCapture(event.pointerId);
      follow(event);
      event.preventDefault();
      slide.focus({ preventScroll: true });
    });
    stage.addEventListener("pointermove", (event) => { if (sliding) follow(event); });
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, () => { sliding = false; });
    }

    const actions = {
      in: () => zoomTo(zoom * 1.5),
      out: () => zoomTo(zoom / 1.5),
      all: () => zoomTo(1),
      pixel: () => {
        const image = windows[1].firstChild;
        zoomTo(image.naturalWidth / image.clientWidth / devicePixelRatio);
      },
      large: (button) => {
        const on = box.classList.toggle("large");
        button.setAttribute("aria-pressed", on);
        draw();
      },
    };
    for (const button of all("[data-do]", box)) {
      button.addEventListener("click", () => actions[button.dataset.do](button));
    }
    for (const part of all(".compare, .tools", box)) part.hidden = false;
    fill();
    draw();
  }
})();
