package main

// applets is the whole binary, by name.
var applets = []applet{}
