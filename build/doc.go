// Package build is the story of hooksmith: a flavor goes in, the kernel and
// initramfs of a HookOS come out.
//
// Build in build.go is that story in numbered steps. Everything that lands in
// the initramfs is a v1.Layer first (a Debian package, generated files, an
// image's layer); layers.go turns each into an index over cached bytes,
// build/rootfs flattens and merges them, build/initramfs writes them. Layers of
// embedded images, of which nothing is merged, go into their segments as they
// are read (embedstream.go).
//
// Flavors are in flavor.go, the lock file in lock.go, what stands in the
// output folder afterwards in artifacts.go.
package build
