// Package compile compiles kernels in Docker.
//
// In: a Spec, which is a configuration, a source and what is added to it. Out:
// a Kernel, an image with /kernel, /kernel.tar, /System.map and, where there
// are device trees, /dtbs.tar.gz, as Hook's kernels are and LinuxKit takes
// them. Its tag says all that went in.
//
// Docker's builder makes the toolchain alone (toolchain.go). The kernel is
// compiled in a container of it, the Workspace (workspace.go), into which the
// source is copied after it was verified; its steps are in kernel.sh. The image
// is put together here (image.go), so that BuildKit and the classic builder,
// Docker's and containerd's stores give the same bytes. The container ends with
// its Workspace, and if this process is killed, with its connection; what a
// crash of the daemon leaves is removed by the next Workspace (sweep.go). Only
// the volume with ccache's cache stays.
//
// Open make.go first, then build.go.
package compile
