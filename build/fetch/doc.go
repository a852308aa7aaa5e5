// Package fetch gets bytes whose hash is known before they are, and keeps them.
//
// In: URLs, a SHA-256 and a size (Blob), or a URL whose content changes
// (Latest), or a key and a function that makes the content (Derive). Out:
// files of a content-addressed cache folder. Downloads resume, are retried
// with back-off over all mirrors, and are verified while they are written, so
// nothing unverified is ever found under its hash. Several processes may share
// one folder.
//
// Open cache.go first, then download.go; partial.go is how a download goes on
// where an earlier one ended, for whoever asks others than plain URLs too.
// patience.go and pace.go see to it that it ends, whatever a server does.
package fetch
