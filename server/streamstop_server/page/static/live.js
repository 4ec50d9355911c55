// Keeps screens live, and tells when one is not.
"use strict";
(function () {
  // Tell after two seconds without a stream, or without an answer for a part. The next success takes it back.
  const PATIENCE_MS = 2000;
  let timer = null;

  function live(is_so) {
    const note = document.getElementById("not-live");
    if (is_so) {
      clearTimeout(timer);
      timer = null;
      note.hidden = true;
    } else if (timer === null) {
      timer = setTimeout(function () { note.hidden = false; }, PATIENCE_MS);
    }
  }

  for (const name of ["htmx:sseError", "htmx:sendError", "htmx:responseError"]) {
    document.addEventListener(name, function () { live(false); });
  }
  document.addEventListener("htmx:sseOpen", function () { live(true); });
  document.addEventListener("htmx:afterRequest", function (event) { if (event.detail.successful) live(true); });

  // Close the streams of a tab that nobody has seen for a while: over HTTP/1.1 a browser has six connections to a host,
  // for all its tabs. A stream that reports an error while it is closed is opened again by the extension.
  const HIDDEN_MS = 20000;
  const sources = new Set();
  let closing = null;

  htmx.createEventSource = function (url) {
    const source = new EventSource(url, {withCredentials: true});
    sources.add(source);
    return source;
  };
  document.addEventListener("visibilitychange", function () {
    clearTimeout(closing);
    if (document.hidden) {
      closing = setTimeout(function () { sources.forEach(function (source) { source.close(); }); }, HIDDEN_MS);
      return;
    }
    for (const source of sources) {
      if (source.readyState === EventSource.CLOSED) {
        sources.delete(source);
        source.onerror(new Event("error"));
      }
    }
  });
})();
