using System.Collections.Generic;

namespace AdvContrast;

/// <summary>Which images a figure was measured on.</summary>
/// <param name="Images">Images that were used.</param>
/// <param name="Of">Images in the set that they were drawn from.</param>
/// <param name="Classes">Classes with an image among those used.</param>
/// <param name="OfClasses">Classes that the labels can name; 0 without labels.</param>
/// <param name="Absent">The other classes by name, or by number where they have no names.</param>
/// <param name="Skipped">What the reader of the set skipped, a phrase each: <c>"2 hidden files and folders"</c>.
/// </param>
public sealed record Coverage(
    long Images, long Of, int Classes, int OfClasses, IReadOnlyList<string> Absent, IReadOnlyList<string> Skipped)
{
    internal static Coverage From(Core.Data.Coverage c) =>
        new(c.Images, c.Of, c.Classes, c.OfClasses, [.. c.Absent], [.. c.Skipped]);
}
