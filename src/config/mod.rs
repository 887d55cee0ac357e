//! What the user wrote: strings, spans, defaults; load(files) -> Config or diagnostics.
