// Package lease decides which IPv4 address a client gets and remembers it on
// disk. In: clients, subnets, times. Out: addresses, and the promise that one
// address never has two live leases. It knows no packets.
//
// A client is its MAC address, never its client identifier (option 61): the
// PXE ROM, iPXE and the operating system of one machine send different ones.
//
// A DISCOVER is an Offer: a choice in memory, held for a minute. A REQUEST is a
// Bind: it returns when the lease is on disk, so that an ACK that was sent
// survives kill -9 and loss of power. Binds that come while the disk is busy
// share its next transaction; a lone one waits for nothing.
//
// Read lease.go for the types, offer.go for the choice, bind.go for the rules
// of a change, commit.go for how changes reach the disk: journal.go first, then
// file.go's database. Both files, leases.db and leases.db.journal, are the
// leases; after Close, or some seconds without a change, the first alone is.
// tree.go is the index that keeps an Offer cheap in a pool of a million addresses.
package lease
