//go:build !linux

package zstdlong

func advise([]byte) {}
