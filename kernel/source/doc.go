// Package source is where a kernel's source comes from, and the proof that it
// is the right one.
//
// In: a tar or folder of this machine (Open), a URL with its SHA-256
// (Download), a version of kernel.org (KernelOrg), or an archive that somebody
// else verifies, such as the one in a Debian package (NewArchive); patches
// (ParsePatch) and modules from outside of the kernel (OpenExternal). Out: a
// Source, which knows its version and its hash, and whose Tar gives the same
// bytes for the same source: one top folder, plain modes, nothing that leaves
// it, bounded in size.
//
// Signatures and hashes are checked inside Read, so whoever reads Tar to
// io.EOF has seen only what was verified. Open source.go first, then
// archive.go and kernelorg.go.
package source
