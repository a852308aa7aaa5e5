// Package store is where sets are published: a folder, an object store, a web
// server that takes PUT, an SFTP server. All of them are one small interface,
// Store, which publish has its one algorithm over; Open makes one of a
// destination's URL. Transient failures are retried in one place (retry.go).
//
// Start in store.go; each kind of store is a file of its name.
package store
