//! Sizes, durations, rates: parsed and printed with their units.
