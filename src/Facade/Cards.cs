namespace AdvContrast;

/// <summary>A method that an encoder can be trained by.</summary>
/// <param name="Name">What PretrainOptions.Method takes.</param>
/// <param name="Summary">One line on it.</param>
/// <param name="Citation">The paper that it comes from.</param>
/// <param name="Text">Its full composition and recipe: views, adversaries, passes, loss, optimiser.</param>
public sealed record MethodCard(string Name, string Summary, string Citation, string Text)
{
    internal static MethodCard Of(Core.Methods.Method method) =>
        new(method.Name, method.Summary, method.Citation, Core.Methods.MethodCard.text(method));
}

/// <summary>A data set that can be trained and tested on.</summary>
/// <param name="Name">What the options' Dataset takes.</param>
/// <param name="Summary">One line on it.</param>
/// <param name="NeedsFolder">Whether the options' Data must name the folder of its files.</param>
/// <param name="CanBeFetched">Whether Workbench.GetDatasetAsync brings it.</param>
public sealed record DatasetCard(string Name, string Summary, bool NeedsFolder, bool CanBeFetched)
{
    internal static DatasetCard Of(Core.Data.Listing listing) =>
        new(listing.Name, listing.Summary, listing.NeedsFolder, !listing.Remotes.IsEmpty);
}

/// <summary>A network that can be trained.</summary>
/// <param name="Name">What PretrainOptions.Network takes.</param>
/// <param name="Summary">One line on it.</param>
/// <param name="Width">Channels of its first stage where none are given.</param>
public sealed record NetworkCard(string Name, string Summary, long Width);
