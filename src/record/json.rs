//! The JSON rendering of a record: one line, flat snake_case, unit in the name.
