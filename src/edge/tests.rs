//! Pure parts over bytes, and whole connections over loopback.
