//! The random bytes of the system, under the name by which rustls hands them out.

pub mod crypto {
    pub mod aws_lc_rs {
        use std::fs::File;
        use std::io::{self, Read as _};

        pub struct Provider {
            pub secure_random: System,
        }

        pub struct System;

        impl System {
            /// # Errors
            /// There are none.
            pub fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
                File::open("/dev/urandom")?.read_exact(bytes)
            }
        }

        pub fn default_provider() -> Provider {
            Provider { secure_random: System }
        }
    }
}
