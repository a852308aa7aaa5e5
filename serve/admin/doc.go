// Package admin is what people and programs see of a running server: a JSON
// API, server-sent events, Prometheus metrics, health, and one page at /. In:
// the timeline and functions that tell about the other parts (Config). Out: an
// http.Handler (New), and a Client for the command line.
//
// It is read-only and imports no package that sends a packet. All that a
// machine said of itself (host names, log lines, user classes) is hostile and
// only ever shown as text.
//
// Open admin.go first, then api.go, events.go (the live stream), access.go (who
// may look), page.go with page.html, and metrics.go.
package admin
