// Package web is the HTTP and HTTPS server for what boots: kernels and
// initramfs, iPXE binaries, and each machine's script.
//
// In: a Server with a folder of artifacts, binaries, scripts and hardware data,
// and a listener; out: bytes for machines and events for the timeline.
//
// The flow: Handler (handler.go) makes a target of a path (route.go) and finds
// out which machine asks (client.go). Scripts are made in script.go. Files come
// from the artifacts' folder (artifacts.go), where folder.go and pin.go see to it
// that kernel and initramfs of one boot are of one build, and digest.go hashes
// contents for ETags. send.go writes files out by sendfile, with time limits,
// delivery.go tells what arrived, observe.go reports it. server.go, conn.go and
// cert.go serve listeners.
package web
