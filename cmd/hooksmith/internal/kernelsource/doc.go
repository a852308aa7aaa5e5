// Package kernelsource turns the flags of `hooksmith kernel` and
// `hooksmith kernel-config` that name a kernel's source, its patches and
// modules from elsewhere into values of kernel/source. It is here that the
// source package of Debian, the download cache and the keys of configs meet.
package kernelsource
