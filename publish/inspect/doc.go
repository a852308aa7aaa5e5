// Package inspect looks into a HookOS that was built: which kernel it boots,
// what its initramfs holds and how much memory that takes, whoever built it.
//
// In: a kernel file, an initramfs file, an output folder, or the URL of one
// (Open). Out: a Report (Inspect), what changed between two of them (Compare),
// and both as text for a terminal; a report also as one HTML page with a map
// of what takes the space (WriteHTML).
//
// An initramfs is read once, as a stream: its parts next to each other, and of
// a file's content only what is needed, so that memory does not depend on its
// size. All of it may be hostile.
//
// Open inspect.go first, then scan.go and tree.go.
package inspect
