// A job's stored files, as GET /jobs/{id}/artifacts lists them.

/** The file of that attempt and name; undefined while it is not stored. */
export function fileOf(files, fence, name) {
  return files.find((file) => file.fence === fence && file.name === name);
}

/** Where to get it. A link through the gateway is asked of the host that the page came from, whatever stands before it. */
export function address(file) {
  if (!file) return null;
  const link = new URL(file.url, location.href);
  if (!["http:", "https:"].includes(link.protocol)) return null;
  return link.searchParams.has("token") ? link.pathname + link.search : link.href;
}
