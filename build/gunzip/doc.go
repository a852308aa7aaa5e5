// Package gunzip decompresses gzip files (RFC 1952) 2.7 times as fast as
// klauspost/compress, measured on layers of programs: with 64 bits at a time, of
// which one look at a table gives two symbols where they are short, and copies
// of sixteen bytes. Layers are most of what a build reads, and nearly all are
// gzip files.
//
// In: an io.Reader over one or more members. Out: what they hold, one after
// the other. CRC-32 and size of each member are checked inside Read. What is
// taken and what refused is as in compress/gzip. What was read before an error
// is in the file. Errors are io.ErrUnexpectedEOF of a file that is cut off,
// those of compress/gzip, one of a damaged stream, and the source's.
//
// Open reader.go first, then inflate.go; symbols.go is the loop, literal.go
// what it asks.
package gunzip
