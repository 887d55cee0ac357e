//! Counter, gauge and their text export; knows no room by name.
