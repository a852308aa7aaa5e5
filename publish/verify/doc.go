// Package verify checks a set of artifacts: that hook.json is signed, if a key
// is given, and that every file that it names has the size and the hash it
// should have. The set may be a folder, any fs.FS, or lie behind a URL; files
// are streamed.
//
// Start in set.go: Set.
package verify
