// Package kerneltest compiles and configures kernels with a real Docker daemon, and boots what was compiled. It has
// tests only.
//
// They need root, dockerd and debootstrap, 8 GB of disk and minutes, so that they run with HOOKSMITH_KERNEL=1 (make
// kernel-test) only. All share one daemon, which the first test starts and TestMain stops, its compilers and its ccache,
// and Debian's source of the kernel, downloaded once. Tests run beside each other, as many as there are
// processors beside TestKernel (lab.turn), and know their own containers by the process that made them.
//
//	HOOKSMITH_KERNEL_SOCKET=PATH  use this Docker daemon, whose images and cache may be littered, and leave it running
//	HOOKSMITH_KERNEL_DIR=FOLDER   keep the daemon's data, the base image and the source there for the next run
//	HOOKSMITH_KERNEL_NETWORK=NAME network with which the compilers are installed (default host: the daemon has no bridge)
//
// Open lab_test.go first.
package kerneltest
