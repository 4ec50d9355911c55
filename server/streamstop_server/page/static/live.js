// Tell when a screen is not live: its stream has ended, or a part of it could not be read. The next success takes it back.
"use strict";
(function () {
  function live(is_so) {
    document.getElementById("not-live").hidden = is_so;
  }
  for (const name of ["htmx:sseError", "htmx:sendError", "htmx:responseError"]) {
    document.addEventListener(name, function () { live(false); });
  }
  document.addEventListener("htmx:sseOpen", function () { live(true); });
  document.addEventListener("htmx:afterRequest", function (event) { if (event.detail.successful) live(true); });
})();
