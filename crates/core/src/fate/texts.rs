//! The texts of an enum, one row for each variant.

/// Gives an enum its texts, one row for each variant:
///
/// ```text
/// pattern => key, "the line that `Display` prints" [with argument], "What `explain` returns.";
/// ```
///
/// The key is an id or a name, with the type and the documentation that the head
/// of the table says. The line may capture what the pattern binds. A match per
/// text would keep each variant's texts in as many places.
macro_rules! texts {
    (
        impl $type:ident {
            $(#[$doc:meta])*
            $key:ident: $key_type:ty;

            $($variant:pat =>
                $value:expr, $line:literal $(with $argument:expr)?, $sentence:expr;)+
        }
    ) => {
        #[allow(unused_variables, reason = "a variant binds what one of its texts needs")]
        impl $type {
            $(#[$doc])*
            pub fn $key(&self) -> $key_type {
                match self {
                    $($variant => $value,)+
                }
            }

            /// Explains this in one sentence and names its rule.
            pub fn explain(&self) -> &'static str {
                match self {
                    $($variant => $sentence,)+
                }
            }
        }

        #[allow(unused_variables, reason = "a variant binds what one of its texts needs")]
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($variant => write!(f, $line $(, $argument)?),)+
                }
            }
        }
    };
}

pub(super) use texts;
