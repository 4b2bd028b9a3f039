// SPDX-License-Identifier: Apache-2.0
// Compiled by itself, with NCURSES_NOMACROS: ncurses has macros such as `move` and `timeout`.
#include "cli/top_screen.h"

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstring>

#include <curses.h>
#include <langinfo.h>

namespace featherlb::cli {

namespace {

// Pairs of colours.
enum : short { good = 1, warning = 2, bad = 3 };

SCREEN* terminal;

int attributes_of(TopLine::Style style)
{
    const bool colours = ::has_colors();
    switch (style) {
    case TopLine::Style::heading:
        return static_cast<int>(A_DIM);
    case TopLine::Style::strong:
        return static_cast<int>(A_BOLD);
    case TopLine::Style::good:
        return colours ? COLOR_PAIR(good) : static_cast<int>(A_NORMAL);
    case TopLine::Style::warning:
        return colours ? COLOR_PAIR(warning) : static_cast<int>(A_BOLD);
    case TopLine::Style::bad:
        return (colours ? COLOR_PAIR(bad) : 0) | static_cast<int>(A_BOLD);
    case TopLine::Style::selected:
        return static_cast<int>(A_REVERSE);
    default:
        return static_cast<int>(A_NORMAL);
    }
}

} // namespace

std::unique_ptr<TopScreen> TopScreen::open()
{
    static_cast<void>(std::setlocale(LC_CTYPE, ""));
    const char* const type = std::getenv("TERM");
    if (type == nullptr || std::strcmp(type, "dumb") == 0)
        return nullptr;
    terminal = ::newterm(nullptr, stdout, stdin);
    if (terminal == nullptr)
        return nullptr;
    ::cbreak();
    ::noecho();
    ::nonl();
    ::keypad(stdscr, true);
    ::set_escdelay(50);
    ::curs_set(0);
    if (::has_colors()) {
        ::start_color();
        ::use_default_colors();
        ::init_pair(good, COLOR_GREEN, -1);
        ::init_pair(warning, COLOR_YELLOW, -1);
        ::init_pair(bad, COLOR_RED, -1);
    }
    return std::unique_ptr<TopScreen>(new TopScreen());
}

TopScreen::~TopScreen()
{
    ::endwin();
    ::delscreen(terminal);
    terminal = nullptr;
}

std::size_t TopScreen::width() const
{
    return static_cast<std::size_t>(std::max(getmaxx(stdscr), 1));
}

std::size_t TopScreen::height() const
{
    return static_cast<std::size_t>(std::max(getmaxy(stdscr), 1));
}

bool TopScreen::unicode() const
{
    return std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
}

void TopScreen::show(const std::vector<TopLine>& lines)
{
    ::werase(stdscr);
    for (std::size_t row = 0; row < lines.size() && row < height(); ++row) {
        const int attributes = attributes_of(lines[row].style);
        ::wattrset(stdscr, attributes);
        ::wmove(stdscr, static_cast<int>(row), 0);
        ::waddnstr(stdscr, lines[row].text.c_str(), -1);
        if (lines[row].style == TopLine::Style::selected) // to the edge
            ::wchgat(stdscr, -1, A_REVERSE, 0, nullptr);
    }
    ::wattrset(stdscr, A_NORMAL);
    ::wrefresh(stdscr);
}

TopKey TopScreen::key(std::chrono::milliseconds wait)
{
    ::wtimeout(stdscr, static_cast<int>(std::max<std::int64_t>(wait.count(), 0)));
    switch (::wgetch(stdscr)) {
    case ERR:
        return TopKey::none;
    case 'q':
    case 'Q':
    case 27: // escape
    case 3:  // ctrl-C, where the terminal makes no signal of it
        return TopKey::quit;
    case KEY_UP:
    case 'k':
        return TopKey::up;
    case KEY_DOWN:
    case 'j':
        return TopKey::down;
    case KEY_PPAGE:
        return TopKey::page_up;
    case KEY_NPAGE:
        return TopKey::page_down;
    case KEY_HOME:
    case 'g':
        return TopKey::home;
    case KEY_END:
    case 'G':
        return TopKey::end;
    case '\r':
    case '\n':
    case KEY_ENTER:
        return TopKey::turn;
    case 's':
        return TopKey::order;
    case 'p':
    case ' ':
        return TopKey::pause;
    case KEY_RESIZE:
        return TopKey::resized;
    default:
        return TopKey::other;
    }
}

} // namespace featherlb::cli
