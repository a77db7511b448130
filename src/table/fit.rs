//! What a terminal's width holds: names are cut and gaps narrowed first, then columns are omitted.

use super::columns::Column;

/// Names are cut to this width before a column is omitted.
const NAME_WIDTH: u16 = 12;
/// Names are never cut to less, which their heading is: the lines of a terminal that narrow break.
const SHORTEST_NAME: u16 = 6;
/// The columns to omit, one after the other.
const SPARE: [&[Column]; 8] = [
    &[Column::Reads, Column::Writes],
    &[Column::Vcpus],
    &[Column::Memory],
    &[Column::Steal],
    &[Column::Read, Column::Written],
    &[Column::Received, Column::Sent],
    &[Column::Used, Column::Available],
    &[Column::Source],
];
const GAPS: [u16; 2] = [2, 1];

/// The columns that are shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) columns: Vec<Column>,
    /// Of each column, without its gap.
    pub(super) widths: Vec<u16>,
    /// Before each column but the first.
    pub(super) gap: u16,
}

impl Fit {
    /// Which of these columns fit a width; all of them without a limit.
    pub(super) fn of(
        columns: &[Column],
        width: Option<u16>,
        natural: impl Fn(Column) -> u16,
    ) -> Self {
        let mut columns = columns.to_vec();
        let mut spare = SPARE.iter();
        loop {
            let widths: Vec<u16> = columns.iter().map(|&column| natural(column)).collect();
            let Some(limit) = width else { return Self { columns, widths, gap: GAPS[0] } };
            for gap in GAPS {
                if let Some(widths) = cut(&columns, &widths, gap, limit, NAME_WIDTH) {
                    return Self { columns, widths, gap };
                }
            }
            let Some(left_out) = spare.next() else {
                let [.., gap] = GAPS;
                let shortest = cut(&columns, &widths, gap, limit, SHORTEST_NAME);
                let shortest = shortest.unwrap_or_else(|| {
                    let shortest = |(column, &width): (&Column, &u16)| {
                        if column.is_name() { width.min(SHORTEST_NAME) } else { width }
                    };
                    columns.iter().zip(&widths).map(shortest).collect()
                });
                return Self { columns, widths: shortest, gap };
            };
            columns.retain(|column| !left_out.contains(column));
        }
    }
}

/// The widths with names cut until everything fits the limit, if that takes cutting none below
/// `shortest`. The longest is cut first.
fn cut(
    columns: &[Column],
    natural: &[u16],
    gap: u16,
    limit: u16,
    shortest: u16,
) -> Option<Vec<u16>> {
    let mut widths = natural.to_vec();
    let gaps = u32::from(gap) * u32::try_from(columns.len().saturating_sub(1)).ok()?;
    let mut needed = gaps + widths.iter().copied().map(u32::from).sum::<u32>();
    while needed > u32::from(limit) {
        let names = columns.iter().zip(&mut widths).filter(|(column, _)| column.is_name());
        let (_, longest) = names.max_by_key(|(_, width)| **width)?;
        if *longest <= shortest {
            return None;
        }
        *longest -= 1;
        needed -= 1;
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [Column::Guest, Column::Source, Column::State, Column::Reads];

    fn fit(width: Option<u16>) -> Fit {
        Fit::of(&COLUMNS, width, |column| match column {
            Column::Guest => 30,
            Column::Source => 20,
            Column::State => 7,
            _ => 8,
        })
    }

    #[test]
    fn without_a_limit_nothing_is_cut() {
        assert_eq!(
            fit(None),
            Fit { columns: COLUMNS.to_vec(), widths: vec![30, 20, 7, 8], gap: 2 }
        );
        assert_eq!(fit(Some(71)), fit(None));
    }

    #[test]
    fn the_longer_names_are_cut_first_then_gaps_then_columns_go() {
        let all = COLUMNS.to_vec();
        let widths = |width| (fit(Some(width)).widths, fit(Some(width)).gap);
        assert_eq!(widths(70), (vec![29, 20, 7, 8], 2));
        assert_eq!(widths(45), (vec![12, 12, 7, 8], 2));
        assert_eq!(widths(44), (vec![13, 13, 7, 8], 1));
        assert_eq!((fit(Some(42)).columns, widths(42).0), (all, vec![12, 12, 7, 8]));
        let fewer = fit(Some(41));
        assert_eq!(fewer.columns, [Column::Guest, Column::Source, Column::State]);
        assert_eq!((fewer.widths, fewer.gap), (vec![15, 15, 7], 2));
    }

    #[test]
    fn a_terminal_that_is_narrower_than_all_gets_the_guest_and_its_state() {
        for width in [0, 1, 14, 17] {
            let fit = fit(Some(width));
            assert_eq!(fit.columns, [Column::Guest, Column::State]);
            assert_eq!(fit.widths, [if width == 17 { 9 } else { 6 }, 7]);
        }
    }
}
