//! The pictures of `top`: the list of lanes, the page of one, and help. Nothing here touches a terminal.

use super::model::{Model, Page, Sort, Trend, full};
use crate::human::{age, bytes, count, duration, harmless, hex, short_age, wrapped};
use crate::output::Colour;
use crate::{seen, users};
use fdring::inspect::{ConsumerView, LaneView};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, BorderType, Cell, Paragraph, Row, Sparkline, Table, TableState};
use std::collections::VecDeque;

const KEYS: &str = " ↑↓ choose   ⏎ open   s sort   r reverse   space halt   ? help   q quit";
const KEYS_OF_LANE: &str = " esc back   ↑↓ next lane   space halt   ? help   q quit";
const HELP: &str = concat!(
    " ↑ ↓  j k         choose a lane           PgUp PgDn Home End  further\n",
    " Enter →          open its page           Esc ←               back to the list\n",
    " s                sort by the next of name, bytes, records, full, readers\n",
    " r                turn the order round\n",
    " space            halt the picture, and go on\n",
    " Ctrl-L           draw it anew            Ctrl-Z              to the shell\n",
    " q Ctrl-C         quit\n",
    "\n",
    " FULL             how much of the ring its slowest consumer has not released;\n",
    "                  at 100 % the producer waits\n",
    " LAG              what a reader has not released, or a tap has not read\n",
    " HELD             what a consumer has read and keeps\n",
    " asleep           it waits in the kernel until more comes\n",
    " spinning         it looks again and again\n",
    " stands still     it has records to read and reads none\n",
);

/// The eighths of a character.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(title(model), head);
    match (model.page, model.lane()) {
        (Page::Help, _) => frame.render_widget(Paragraph::new(HELP).block(block("help")), body),
        (Page::Lane, Some(lane)) => draw_lane(frame, body, model, lane),
        (Page::Lane, None) => {
            frame.render_widget(Paragraph::new("This lane is gone.").block(block("lane")), body);
        }
        (Page::List, _) => draw_list(frame, body, model),
    }
    let keys = if model.page == Page::List { KEYS } else { KEYS_OF_LANE };
    frame.render_widget(Line::from(keys).dim(), foot);
}

/// What all lanes do together.
fn title(model: &Model) -> Line<'static> {
    let lanes = &model.survey.lanes;
    let rates = lanes.iter().map(seen::rates);
    let sum = rates.fold((0.0, 0.0), |(bytes, records), rates| {
        (bytes + rates.bytes.unwrap_or(0.0), records + rates.records.unwrap_or(0.0))
    });
    let readers: usize = lanes.iter().map(|lane| lane.consumers.len()).sum();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut spans = vec![
        Span::from(" fdring top ").bold().reversed(),
        format!("  {}   {}", plural(lanes.len(), "lane"), plural(readers, "reader")).into(),
        format!("   {}/s", bytes(sum.0 as u64)).bold(),
        format!("   {} records/s", count(sum.1)).into(),
    ];
    if model.is_halted {
        spans.push("   halted ".yellow().bold());
    }
    Line::from(spans)
}

fn block(title: &str) -> Block<'static> {
    Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().dim()).title(format!(" {title} "))
}

fn style(colour: Colour) -> Style {
    match colour {
        Colour::None => Style::new(),
        Colour::Bold => Style::new().bold(),
        Colour::Dim => Style::new().dim(),
        Colour::Green => Style::new().green(),
        Colour::Yellow => Style::new().yellow(),
        Colour::Red => Style::new().red(),
    }
}

fn right(text: impl Into<Text<'static>>) -> Cell<'static> {
    Cell::from(text.into().alignment(Alignment::Right))
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let unseen = seen::unseen(&model.survey);
    // A screen of 24 lines has two for them.
    let room = usize::from(area.height / 10).max(1);
    let width = usize::from(area.width.saturating_sub(2));
    let sentences = unseen.iter().flat_map(|sentence| wrapped(&format!("not seen: {sentence}"), width));
    let mut notes: Vec<String> = sentences.collect();
    if notes.len() > room {
        notes.truncate(room - 1);
        notes.push(format!("not seen: {} in all, see fdring ps", unseen.len()));
    }
    let notes: Vec<Line<'static>> = notes.into_iter().map(|line| Line::from(format!(" {line}")).dim()).collect();
    let height = notes.len() as u16;
    let [area, note_area] = Layout::vertical([Constraint::Min(3), Constraint::Length(height)]).areas(area);
    if model.survey.lanes.is_empty() {
        frame.render_widget(
            Paragraph::new("\n No lane is seen. A program that makes one appears here by itself."),
            area,
        );
    } else {
        let is_wide = area.width >= 110;
        let names = model.survey.lanes.iter().map(|lane| harmless(&lane.info.name).chars().count()).max();
        let name = (names.unwrap_or(0) as u16).clamp(12, if is_wide { 40 } else { 16 });
        let width = if is_wide { area.width.saturating_sub(name + 80).clamp(12, 80) } else { 8 };
        let widths = [name, 15, 8, width, if is_wide { 9 } else { 7 }, 5, 3, if is_wide { 9 } else { 0 }, 0];
        let widths = widths.map(Constraint::Length).into_iter().take(8).chain([Constraint::Fill(1)]);
        let rows = model.survey.lanes.iter().map(|lane| row_of(lane, model.trend(lane), usize::from(width), is_wide));
        let table = Table::new(rows, widths)
            .header(titles(model))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .column_spacing(1);
        let mut state = TableState::new().with_selected(model.place());
        frame.render_stateful_widget(table, area, &mut state);
    }
    frame.render_widget(Text::from(notes), note_area);
}

fn titles(model: &Model) -> Row<'static> {
    let mark = |title: &'static str, sort: Sort| {
        let arrow = if model.is_reversed { "▲" } else { "▼" };
        let style = if sort == model.sort { Style::new().underlined().bold() } else { Style::new().bold() };
        let text = if sort == model.sort { format!("{title}{arrow}") } else { title.to_owned() };
        Span::styled(text, style)
    };
    Row::new([
        Cell::from(mark(Sort::Name.title(), Sort::Name)),
        Cell::from("PRODUCER".bold()),
        right(mark(Sort::Bytes.title(), Sort::Bytes)),
        Cell::from("TREND".bold()),
        right(mark("REC/S", Sort::Records)),
        right(mark(Sort::Full.title(), Sort::Full)),
        right(mark("RD", Sort::Readers)),
        right("CAPACITY".bold()),
        Cell::from("STATE".bold()),
    ])
}

fn row_of(lane: &LaneView, trend: Option<&Trend>, width: usize, is_wide: bool) -> Row<'static> {
    let (state, colour) = seen::state(lane);
    let share = full(lane);
    let rates = seen::rates(lane);
    let full_style = match share {
        share if share > 0.9 => Style::new().red(),
        share if share > 0.5 => Style::new().yellow(),
        _ => Style::new(),
    };
    Row::new([
        Cell::from(harmless(&lane.info.name).bold()),
        Cell::from(seen::who(lane.producer.as_ref())),
        right(rates.bytes()),
        Cell::from(trend.map(|trend| bars(&trend.bytes, width)).unwrap_or_default().cyan()),
        right(rates.records()),
        right(Span::styled(format!("{:.0}%", share * 100.0), full_style)),
        right(lane.consumers.len().to_string()),
        right(if is_wide { bytes(lane.info.capacity) } else { String::new() }),
        Cell::from(Span::styled(state, style(colour))),
    ])
}

/// The newest values as bars, the newest at the right, the highest of them a whole character.
fn bars(values: &VecDeque<u64>, width: usize) -> String {
    let shown = || values.iter().skip(values.len().saturating_sub(width));
    let highest = shown().copied().max().unwrap_or(0);
    let bar = |value: &u64| match (*value, highest) {
        (0, _) => ' ',
        (value, highest) => BARS[((value as f64 / highest as f64) * 7.0).round() as usize],
    };
    let empty = width.saturating_sub(values.len());
    " ".repeat(empty).chars().chain(shown().map(bar)).collect()
}

fn draw_lane(frame: &mut Frame<'_>, area: Rect, model: &Model, lane: &LaneView) {
    let facts = facts_of(lane);
    let rows = lane.consumers.len() + lane.keepers.len() + 3;
    let trend = (area.height / 5).clamp(4, 8);
    let [fact_area, trend_area, reader_area] = Layout::vertical([
        Constraint::Length(facts.len() as u16 + 2),
        Constraint::Length(trend),
        Constraint::Min(u16::try_from(rows).unwrap_or(u16::MAX).min(4)),
    ])
    .areas(area);
    frame.render_widget(
        Paragraph::new(facts).block(block(&harmless(&lane.info.name)).title_style(Style::new().bold())),
        fact_area,
    );
    if let Some(trend) = model.trend(lane) {
        let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(trend_area);
        let [now, full_now] = [&trend.bytes, &trend.full].map(|values| values.back().copied().unwrap_or(0));
        let highest = trend.bytes.iter().copied().max().unwrap_or(0);
        let title = format!("{}/s, at most {}/s", bytes(now), bytes(highest));
        draw_trend(frame, halves[0], &trend.bytes, None, &title, Color::Cyan);
        let title = format!("{:.0} % of the ring full", full_now as f64 / 10.0);
        draw_trend(frame, halves[1], &trend.full, Some(1000), &title, Color::Yellow);
    }
    draw_readers(frame, reader_area, model, lane);
}

fn draw_trend(
    frame: &mut Frame<'_>,
    area: Rect,
    values: &VecDeque<u64>,
    highest: Option<u64>,
    title: &str,
    colour: Color,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let empty = std::iter::repeat_n(0, width.saturating_sub(values.len()));
    let shown = empty.chain(values.iter().copied().skip(values.len().saturating_sub(width)));
    let line =
        Sparkline::default().data(shown.collect::<Vec<u64>>()).style(Style::new().fg(colour)).block(block(title));
    frame.render_widget(if let Some(highest) = highest { line.max(highest) } else { line }, area);
}

fn facts_of(lane: &LaneView) -> Vec<Line<'static>> {
    let (state, colour) = seen::state(lane);
    let user = users::name(lane.producer.as_ref().and_then(|process| process.uid));
    let since = age(lane.since).map_or_else(|| "?".to_owned(), duration);
    let rates = seen::rates(lane);
    let info = &lane.info;
    let stamped = if info.is_stamped { ", with times" } else { "" };
    let pair = |name: &str, value: String| vec![format!("{name:>10} ").dim(), format!("{value:<24}").into()];
    let line = |pairs: [Vec<Span<'static>>; 2]| Line::from(pairs.concat());
    vec![
        Line::from(
            [
                pair("producer", format!("{} of {user}", seen::who(lane.producer.as_ref()))),
                vec![format!("{:>10} ", "state").dim(), Span::styled(state, style(colour))],
            ]
            .concat(),
        ),
        line([pair("capacity", bytes(info.capacity)), pair("since", since)]),
        line([
            pair("published", bytes(lane.published)),
            pair("records", format!("{}{stamped}", count(lane.records as f64))),
        ]),
        line([pair("now", format!("{}/s", rates.bytes())), pair("", format!("{} records/s", rates.records()))]),
        line([
            pair("waited", format!("{} times for room", lane.times_blocked)),
            pair("rang", format!("{} bells, {} evicted", count(lane.bells_rung as f64), lane.evictions)),
        ]),
        line([
            pair("aligned", format!("{} B, payloads {} B", info.record_align, info.payload_align)),
            pair("id", hex(&info.id)),
        ]),
    ]
}

/// A column of the readers: its title, its width, whether it holds numbers, whether only a wide screen has it.
const READER_COLUMNS: [(&str, u16, bool, bool); 9] = [
    ("READER", 9, false, false),
    ("PROCESS", 15, false, false),
    ("USER", 8, false, true),
    ("LAG", 8, true, false),
    ("HELD", 8, true, false),
    ("BYTES/S", 8, true, false),
    ("CPU", 4, true, true),
    ("AGE", 6, true, true),
    ("DOES", u16::MAX, false, false),
];

fn draw_readers(frame: &mut Frame<'_>, area: Rect, model: &Model, lane: &LaneView) {
    let columns = || READER_COLUMNS.iter().enumerate().filter(|(_, (.., is_wide))| !is_wide || area.width >= 100);
    let header = columns().map(|(_, (title, _, is_number, _))| match is_number {
        true => right(title.bold()),
        false => Cell::from(title.bold()),
    });
    let widths = columns().map(|(_, (_, width, ..))| match *width {
        u16::MAX => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let readers = lane.consumers.iter().map(|consumer| reader_cells(model, lane, consumer));
    let keepers = lane.keepers.iter().map(|keeper| {
        let who = ["keeps it".to_owned(), seen::who(Some(keeper)), users::name(keeper.uid)];
        let mut who = who.into_iter();
        std::array::from_fn(|_| who.next().unwrap_or_default().into())
    });
    let rows = readers.chain(keepers).map(|cells: [Span<'static>; 9]| {
        let cells = columns().map(|(index, (_, _, is_number, _))| match is_number {
            true => right(cells[index].clone()),
            false => Cell::from(cells[index].clone()),
        });
        Row::new(cells)
    });
    let title = if lane.consumers.is_empty() { "nobody reads it" } else { "readers" };
    let table = Table::new(rows, widths.clone()).header(Row::new(header)).block(block(title)).column_spacing(1);
    frame.render_widget(table, area);
}

fn reader_cells(model: &Model, lane: &LaneView, consumer: &ConsumerView) -> [Span<'static>; 9] {
    let share = model.share(consumer.process.as_ref());
    let (activity, colour) = seen::activity(consumer, share);
    let lag = consumer.behind_bytes.map_or_else(|| "?".to_owned(), bytes);
    let lag_style = if seen::is_far_behind(consumer, lane) { Style::new().yellow() } else { Style::new() };
    let held = Some(consumer.held_bytes).filter(|held| *held != 0).map(bytes).unwrap_or_default();
    [
        seen::kind(consumer).into(),
        seen::who(consumer.process.as_ref()).into(),
        users::name(consumer.process.as_ref().and_then(|process| process.uid)).into(),
        Span::styled(lag, lag_style),
        held.into(),
        seen::reading_rates(consumer).bytes().into(),
        share.map(|share| format!("{:.0}%", share * 100.0)).unwrap_or_default().into(),
        short_age(consumer.since).into(),
        Span::styled(activity, style(colour)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use fdring::{Consumer, Producer, Server};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    fn drawn(model: &Model, (width, height): (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        cells.map(|line| line.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    #[test]
    fn the_pages_fit_small_and_large_screens() {
        let mut lane = Producer::create("draw\u{202e}: a lane with a long and tricky name").unwrap();
        let server = Server::listen("@fdring-draw-test", [&lane]).unwrap();
        let consumer = Consumer::connect("@fdring-draw-test").unwrap();
        lane.send(&[0; 1000]).unwrap();
        let mut model = Model::new(Sort::Readers).unwrap();
        model.look().unwrap();
        model.press(KeyCode::Home);
        while model.lane().unwrap().info.id != lane.lane().id {
            model.press(KeyCode::Down);
        }
        for size in [(80, 24), (200, 50)] {
            let list = drawn(&model, size);
            let line = list.iter().find(|line| line.contains("draw\\u{202e}")).unwrap_or_else(|| panic!("{list:#?}"));
            assert!(line.contains(&std::process::id().to_string()) && line.contains("live"), "{line}");
            assert!(list[1].contains("TREND") && list[1].contains("STATE"), "{}", list[1]);
            assert!(list.last().unwrap().contains("q quit"));
            model.press(KeyCode::Enter);
            let page = drawn(&model, size).join("\n");
            for part in ["4 MiB", "producer", "copies", "DOES", "1008 B", "stands still", "at most"] {
                assert!(page.contains(part), "{part}: {page}");
            }
            let id = hex(&lane.lane().id);
            assert!(page.contains(&id), "the whole id: {page}");
            model.press(KeyCode::Esc);
            model.press(KeyCode::Char('?'));
            assert!(drawn(&model, size).iter().any(|line| line.contains("it has records to read and reads none")));
            model.press(KeyCode::Esc);
        }
        drop((consumer, server));
    }

    #[test]
    fn bars_end_with_the_newest_and_the_highest_is_whole() {
        let values: VecDeque<u64> = [5, 0, 1, 50, 100].into();
        assert_eq!(bars(&values, 7), "  ▁ ▁▅█");
        assert_eq!(bars(&values, 2), "▅█");
        assert_eq!(bars(&[0, 0].into(), 2), "  ");
        assert_eq!(bars(&VecDeque::new(), 2), "  ");
    }
}
