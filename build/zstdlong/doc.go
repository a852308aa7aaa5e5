// Package zstdlong writes one zstd frame (RFC 8878) and finds what is repeated
// far back: in an initramfs, the code that Go programs have in common, and the
// libraries that several programs bring along.
//
// In: bytes, through Write. Out: a frame with a checksum that every zstd
// decoder and the Linux kernel read. The bytes depend on the input, its
// division into calls of Write left aside, and on Options only; one goroutine
// makes them.
//
// github.com/klauspost/compress/zstd looks back over a large window with
// tables that hold its last few hundred kilobytes. Here a second, sparse table
// covers the whole window (long.go), as zstd --long does it: what it finds is
// both smaller and, because nobody need look at it again, faster. The Huffman
// coder is klauspost's.
//
// Open writer.go first, then block.go.
package zstdlong
