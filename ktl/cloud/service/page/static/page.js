"use strict";
// Puts each changed part of the page in place as the server sends it; parts that are the same stay untouched.

const connection = document.getElementById("connection");
const source = new EventSource("/page/events" + location.search);

source.onopen = () => { connection.textContent = "live"; };

source.onmessage = (event) => {
  const sent = new DOMParser().parseFromString(event.data, "text/html");
  for (const part of sent.querySelectorAll("[data-part]")) {
    const shown = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (shown.outerHTML !== part.outerHTML) shown.replaceWith(part);
  }
};

source.onerror = () => {
  connection.textContent = "not connected; trying again";
  // the browser tries again by itself, but not after an answer like "log in again"
  if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
};
