// SPDX-License-Identifier: Apache-2.0
// Expected failures: every function that may fail for a reason outside the program returns Result<T>.
// Context is added on the way up (`add_context`), printed once at the top. Exceptions mean a broken invariant.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace featherlb {

struct Error {
    std::string message; // what is wrong, in one sentence
    std::string remedy;  // what to do about it; may be empty

    // "while X: message"; keeps the remedy.
    [[nodiscard]] Error add_context(const std::string& context) &&
    {
        return {context + ": " + message, std::move(remedy)};
    }
};

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
public:
    using tl::expected<T, Error>::expected;
};

// `return fail("no such file", "create it")` in a function that returns a Result.
inline tl::unexpected<Error> fail(std::string message, std::string remedy = {})
{
    return tl::unexpected<Error>(Error{std::move(message), std::move(remedy)});
}

inline tl::unexpected<Error> fail(Error error)
{
    return tl::unexpected<Error>(std::move(error));
}

} // namespace featherlb
