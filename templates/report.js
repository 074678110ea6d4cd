(function () {
  "use strict";
  var bar = document.getElementById("filter");
  var items = Array.from(document.querySelectorAll("[data-outcome]"));
  var fields = ["machine", "outcome", "owner"];
  function values(item, field) {
    return (item.getAttribute("data-" + field) || "").split("|").filter(Boolean);
  }
  fields.forEach(function (field) {
    var all = new Set();
    items.forEach(function (item) { values(item, field).forEach(function (v) { all.add(v); }); });
    var select = bar.querySelector("[name=" + field + "]");
    Array.from(all).sort().forEach(function (value) {
      var option = document.createElement("option");
      option.textContent = value;
      select.appendChild(option);
    });
    select.parentNode.hidden = !all.size;
  });
  var texts = new Map();
  function text(item) {
    if (!texts.has(item)) { texts.set(item, item.textContent.toLowerCase()); }
    return texts.get(item);
  }
  function apply() {
    var words = bar.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    items.forEach(function (item) {
      var fits = fields.every(function (field) {
        var wanted = bar.elements[field].value;
        var have = values(item, field);
        return !wanted || have.includes(wanted) || (field === "machine" && !have.length);
      }) && words.every(function (word) { return text(item).includes(word); });
      item.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    var machine = bar.elements.machine.value;
    document.querySelectorAll(".matrix [data-column]").forEach(function (cell) {
      cell.hidden = machine && cell.getAttribute("data-column") !== machine;
    });
    document.querySelectorAll(".rule").forEach(function (rule) {
      rule.hidden = !rule.querySelector("article:not([hidden])");
    });
    bar.querySelector("output").textContent = shown + " of " + items.length;
  }
  bar.hidden = false;
  bar.addEventListener("input", apply);
  bar.addEventListener("reset", function () { setTimeout(apply); });
  bar.addEventListener("submit", function (event) { event.preventDefault(); });
  // The place that an address names is opened, in whatever it is folded.
  function reveal() {
    var target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") { node.open = true; }
    }
    if (target) { target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
  document.querySelectorAll("pre.line").forEach(function (line) {
    var button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", function () {
      var range = document.createRange();
      range.selectNodeContents(line);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      // A page in a file may have no clipboard of the newer kind.
      var done = navigator.clipboard ? navigator.clipboard.writeText(line.textContent) : Promise.reject();
      done.catch(function () { document.execCommand("copy"); }).then(function () {
        button.textContent = "copied";
        setTimeout(function () { button.textContent = "copy"; }, 2000);
      });
    });
    line.before(button);
  });
})();
